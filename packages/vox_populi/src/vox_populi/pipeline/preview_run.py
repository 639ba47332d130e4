"""`vox mens preview`: rows as the trainer would see them, through its own code. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.dataset import DatasetOptions, open_dataset
from vox_populi.data.training_text import TextPolicy, training_pieces
from vox_populi.pipeline.reports import PreviewRow
from vox_populi.pipeline.requests import PreviewRequest
from vox_populi.plan.tokenizer_choice import choose_tokenizer
from vox_tensor.chat_markup import Piece, PieceKind
from vox_tensor.records import IGNORE_INDEX, EncodedRow
from vox_tensor.tokenizer import TextTokenizer


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
    policy = TextPolicy(template=request.template, system_prompt=request.system_prompt)
    options = DatasetOptions(
        min_rating=request.min_rating,
        context_filter=request.context_filter,
        on_bad_row=request.on_bad_row,
        on_long_row=request.on_long_row,
        seq_len=request.seq_len,
        ce_last_k=request.ce_last_k,
    )
    rows = open_dataset(request.data, tokenizer, policy, options)
    for index in islice(range(len(rows)), request.count):
        record, row = rows.record(index), rows[index]
        pieces = training_pieces(record.messages, policy)
        yield PreviewRow(
            ids=row.ids,
            labels=row.labels,
            pieces=tuple(_shown_pieces(row, pieces, tokenizer)),
            source_line=row.line,
            source=record.source,
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
