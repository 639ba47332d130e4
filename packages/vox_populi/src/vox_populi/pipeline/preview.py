"""Rows exactly as the trainer would see them. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from vox_populi import number_ranges
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.dataset import DatasetOptions, RowRules, open_dataset
from vox_populi.data.row_files.open_rows import open_rows
from vox_populi.data.supervision import own_encoder
from vox_populi.data.template_rows import History
from vox_populi.data.training_text import ChatTemplate, TextPolicy, training_pieces
from vox_populi.files.json_numbers import JsonObject
from vox_populi.number_ranges import require_ranges
from vox_populi.plan.template_choice import choose_template
from vox_populi.plan.tokenizer_choice import choose_tokenizer
from vox_tensor.chat_markup import Piece, PieceKind
from vox_tensor.records import IGNORE_INDEX, EncodedRow
from vox_tensor.tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRequest(RowRules):
    """A request to show rows exactly as the trainer would see them."""

    data: Path
    model_dir: Path | None = None
    """Folder whose tokenizer is used; `None` for the embedded base."""
    tokenizer: TokenizerKind | None = None
    """`None`: `vox` for the embedded base, otherwise `hf`."""
    count: int = 3
    template: ChatTemplate = ChatTemplate.CHATML
    system_prompt: str | None = None
    history: History = History.ERROR
    seq_len: int = 512
    ce_last_k: int | None = None
    """Show only this many supervised tokens at the end of a row as learned."""
    min_rating: int | None = 3

    def __post_init__(self) -> None:
        require_ranges(
            ("--count", self.count, number_ranges.COUNT),
            ("--seq-len", self.seq_len, number_ranges.SEQ_LEN),
            ("--ce-last-k", self.ce_last_k, number_ranges.COUNT),
            ("--min-rating", self.min_rating, number_ranges.RATING),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRow:
    """One row as ids and labels."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    """Unshifted, `-100` where a token is not learned."""
    pieces: tuple[tuple[str, bool], ...]
    """Parts of the text, each with whether it is learned, in order."""
    source_line: int
    source: str | None = None
    weight: float = 1.0

    @property
    def text(self) -> str:
        """The row's text with its control tokens."""
        return "".join(piece for piece, _ in self.pieces)

    def as_json(self) -> JsonObject:
        """One line of `vox mens preview --json`."""
        weight = {} if self.weight == 1 else {"weight": self.weight}
        return {
            "ids": list(self.ids),
            "labels": list(self.labels),
            "text": self.text,
            "source_line": self.source_line,
            "source": self.source,
            **weight,
        }


def preview_rows(request: PreviewRequest) -> Iterator[PreviewRow]:
    """The first rows that a run would keep, in the order of the file.

    Raises:
        DataError: With every bad row of the file, as a run would report it.
        ModelError: For a folder without a usable tokenizer.
    """
    kind = request.tokenizer
    if kind is None:
        kind = TokenizerKind.VOX if request.model_dir is None else TokenizerKind.HF
    tokenizer = choose_tokenizer(kind, request.model_dir).tokenizer
    asked = TextPolicy(
        template=request.template,
        system_prompt=request.system_prompt,
        history=request.history,
    )
    policy, _ = choose_template(asked, request.model_dir, tokenizer)
    options = DatasetOptions.of(request, seq_len=request.seq_len, ce_last_k=request.ce_last_k)
    rows = open_dataset(open_rows(request.data), tokenizer, policy, options)
    for index in islice(range(len(rows)), request.count):
        record, row = rows.record(index), rows[index]
        if policy.own is None:
            parts = tuple(_shown_pieces(row, training_pieces(record.messages, policy), tokenizer))
        else:
            parts = own_encoder(policy.own, policy, tokenizer).marked_text(record, row)
        yield PreviewRow(
            ids=row.ids,
            labels=row.labels,
            pieces=parts,
            source_line=row.line,
            source=record.source,
            weight=row.weight,
        )


def _shown_pieces(
    row: EncodedRow, pieces: Iterator[Piece], tokenizer: TextTokenizer
) -> Iterator[tuple[str, bool]]:
    """The text of each piece as far as the row's ids reach, joined where learning is the same."""
    position, shown = 0, ""
    learned = False
    for piece in pieces:
        if position >= len(row):
            break
        n_ids = _n_ids(piece, row.ids[position], tokenizer)
        if n_ids == 0:
            continue
        end = position + n_ids
        for text, is_learned in _piece_parts(row, position, end, piece.text, tokenizer):
            if shown and is_learned != learned:
                yield shown, learned
                shown = ""
            shown, learned = shown + text, is_learned
        position = end
    if shown:
        yield shown, learned


def _piece_parts(
    row: EncodedRow, start: int, end: int, text: str, tokenizer: TextTokenizer
) -> Iterator[tuple[str, bool]]:
    """A piece, in two where only its end is learned; the whole text where all its ids are there."""
    labels = row.labels[start:end]
    n_masked = next((i for i, label in enumerate(labels) if label != IGNORE_INDEX), len(labels))
    if n_masked in (0, len(labels)):
        whole = text if end <= len(row) else tokenizer.decode(row.ids[start:])
        yield whole, n_masked == 0
        return
    border = start + n_masked
    yield tokenizer.decode(row.ids[start:border]), False
    yield tokenizer.decode(row.ids[border:end]), True


def _n_ids(piece: Piece, first_id: int, tokenizer: TextTokenizer) -> int:
    """How many ids a piece became: one for a marker that has an id, else those of its text."""
    marker_ids = (tokenizer.control_id(piece.text), tokenizer.eos_id)
    if piece.kind is PieceKind.CONTROL and first_id in marker_ids:
        return 1
    return len(tokenizer.encode(piece.text))
