"""Rows exactly as the trainer would see them. No torch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vox_populi import number_ranges
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.asked_rows import AskedRows, open_training_rows
from vox_populi.data.chat_template import DEFAULT_DAY
from vox_populi.data.control_text import ControlText
from vox_populi.data.dataset import DatasetOptions, RowDataset, RowRules, open_dataset
from vox_populi.data.learned_parts import LearnedParts
from vox_populi.data.marked_row import MarkedRow, RowMarker
from vox_populi.data.template_rows import History
from vox_populi.data.training_text import ChatTemplate, TemplatePlace, TextPolicy
from vox_populi.errors import DataError
from vox_populi.hf.model_config import CONFIG_NAME, read_model_config
from vox_populi.number_ranges import require_ranges
from vox_populi.operator_messages import row_checks as say
from vox_populi.plan.row_cache_choice import choose_row_cache
from vox_populi.plan.template_choice import choose_template
from vox_populi.plan.tokenizer_choice import choose_tokenizer
from vox_tensor.tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRequest(RowRules):
    """A request to show rows exactly as the trainer would see them."""

    data: AskedRows
    model_dir: Path | None = None
    """Folder whose tokenizer is used; `None` for the embedded base."""
    tokenizer: TokenizerKind | None = None
    """`None`: `vox` for the embedded base, otherwise `hf`."""
    count: int = 3
    row: int | None = None
    """Show only this one of the rows that training uses, from 1."""
    line: int | None = None
    """Show only the row on this line of the file."""
    template: ChatTemplate | TemplatePlace = ChatTemplate.AUTO
    template_date: str = DEFAULT_DAY
    system_prompt: str | None = None
    history: History = History.ERROR
    learn: LearnedParts = LearnedParts.ANSWERS
    on_control_text: ControlText = ControlText.TEXT
    seq_len: int = 512
    ce_last_k: int | None = None
    """Show only this many supervised tokens at the end of a row as learned."""
    min_rating: int | None = 3
    use_row_cache: bool = True
    """Use the row cache for large files."""
    row_cache_dir: Path | None = None
    """`None`: that of the user."""

    def __post_init__(self) -> None:
        require_ranges(
            ("--count", self.count, number_ranges.COUNT),
            ("--row", self.row, number_ranges.COUNT),
            ("--line", self.line, number_ranges.COUNT),
            ("--seq-len", self.seq_len, number_ranges.SEQ_LEN),
            ("--ce-last-k", self.ce_last_k, number_ranges.COUNT),
            ("--min-rating", self.min_rating, number_ranges.RATING),
            ("--text-chunk-chars", self.text_chunk_chars, number_ranges.TEXT_CHARS),
        )

    @property
    def asked_text(self) -> TextPolicy:
        """Template and system prompt as requested."""
        return TextPolicy(
            template=self.template,
            template_date=self.template_date,
            system_prompt=self.system_prompt,
            history=self.history,
            learn=self.learn,
            on_control_text=self.on_control_text,
        )

    @property
    def options(self) -> DatasetOptions:
        """The rules for rows and their lengths."""
        return DatasetOptions.of(self, seq_len=self.seq_len, ce_last_k=self.ce_last_k)


@dataclass(frozen=True, slots=True)
class ChosenText:
    """What turns rows into ids."""

    tokenizer: TextTokenizer
    policy: TextPolicy
    notes: tuple[str, ...] = ()


def choose_text(
    asked: TextPolicy, model_dir: Path | None, kind: TokenizerKind | None
) -> ChosenText:
    """The tokenizer and the template that a request means.

    Raises:
        ModelError: For a folder without a usable tokenizer or template.
        MissingExtraError: When one of them needs a module that is not installed.
    """
    if kind is None:
        kind = TokenizerKind.VOX if model_dir is None else TokenizerKind.HF
    chosen = choose_tokenizer(kind, model_dir, _end_ids(model_dir))
    policy, notes = choose_template(asked, model_dir, chosen.tokenizer)
    return ChosenText(chosen.tokenizer, policy, (*chosen.notes, *notes))


def _end_ids(model_dir: Path | None) -> tuple[int, ...]:
    """The end tokens of a base's config; a folder with only a tokenizer has none."""
    if model_dir is None or not (model_dir / CONFIG_NAME).is_file():
        return ()
    return read_model_config(model_dir).eos_ids


def preview_rows(
    request: PreviewRequest, on_notes: Callable[[Sequence[str]], None] = lambda _: None
) -> Iterator[MarkedRow]:
    """The first rows that a run would keep, or one of them, in the order of the file.

    Args:
        request: What to show.
        on_notes: Called with what was chosen for the request, before the first row.

    Raises:
        DataError: With every bad row of the file, as a run would report it; or when the requested
            row does not exist.
        ModelError: For a folder without a usable tokenizer.
    """
    text = choose_text(request.asked_text, request.model_dir, request.tokenizer)
    cache = choose_row_cache(request.row_cache_dir, None, is_used=request.use_row_cache)
    rows = open_dataset(
        open_training_rows(request.data, request.text_chunk_chars),
        text.tokenizer,
        text.policy,
        request.options,
        cache,
    )
    marker = RowMarker(text.tokenizer)
    on_notes((*text.notes, *rows.notes))
    for index in _wanted(rows, request):
        row, record = rows[index], rows.record(index)
        place = rows.rows.place(row.line).rpartition(":")[0]
        counted_as = place.removeprefix(rows.rows.name).removeprefix(":") or "line"
        yield marker.marked(replace(row, line=record.line), record.source, counted_as)


def _wanted(rows: RowDataset, request: PreviewRequest) -> Sequence[int]:
    """Indices of the rows to show."""
    where = rows.rows.name
    if request.row is not None:
        if request.row > len(rows):
            raise DataError(say.no_such_row(where, request.row, len(rows)))
        return [request.row - 1]
    if request.line is not None:
        every, line = range(len(rows)), request.line
        # Rows are in the order of the file, so few of them have to be read again.
        first = bisect_left(every, line, key=lambda each: rows.record(each).line)
        after = bisect_right(every, line, key=lambda each: rows.record(each).line)
        if first == after:
            raise DataError(say.line_has_no_row(where, line))
        return range(first, after)
    return range(min(request.count, len(rows)))
