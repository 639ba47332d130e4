"""Rows exactly as the trainer would see them. No torch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from vox_populi import number_ranges
from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.download_choice import download_setting
from vox_populi.contract.setting import require_settings, setting, setting_metadata
from vox_populi.contract.template_word import TEMPLATE_METAVAR, parse_day, parse_template
from vox_populi.data.asked_rows import AskedRows, open_training_rows
from vox_populi.data.chat_template import DEFAULT_DAY
from vox_populi.data.control_text import ControlText
from vox_populi.data.dataset import (
    DatasetOptions,
    OnBadRow,
    OnLongRow,
    RowDataset,
    RowRules,
    open_dataset,
)
from vox_populi.data.learned_parts import LearnedParts
from vox_populi.data.marked_row import MarkedRow, RowMarker
from vox_populi.data.row_files.text_rows import MOST_CHARACTERS
from vox_populi.data.template_rows import History
from vox_populi.data.training_text import ChatTemplate, TemplatePlace, TextPolicy
from vox_populi.errors import DataError
from vox_populi.hf.hub_name import ModelParts
from vox_populi.hf.model_config import CONFIG_NAME, read_model_config
from vox_populi.operator_messages import row_checks as say
from vox_populi.plan.row_cache_choice import choose_row_cache
from vox_populi.plan.template_choice import choose_template
from vox_populi.plan.tokenizer_choice import choose_tokenizer
from vox_tensor.tokenizer import TextTokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRequest(RowRules):
    """A request to show rows exactly as the trainer would see them."""

    data: AskedRows = field(
        metadata=setting_metadata("File or folder of rows; repeat it for more.", metavar="FILE|DIR")
    )
    model_dir: Path | None = setting(
        None,
        "Folder whose tokenizer is used.",
        name="model",
        default_text="vox-nano",
        model=ModelParts.TEXT,
    )
    allow_download: bool = download_setting()
    count: int = setting(3, "Number of rows.", flags=("-n", "--count"), allowed=number_ranges.COUNT)
    row: int | None = setting(
        None,
        "Show only this one of the rows that training uses, from 1.",
        allowed=number_ranges.COUNT,
    )
    line: int | None = setting(
        None, "Show only the row on this line of the file.", allowed=number_ranges.COUNT
    )
    tokenizer: TokenizerKind | None = setting(
        None, "Vocabulary.", default_text="hf with --model, else vox"
    )
    template: ChatTemplate | TemplatePlace = setting(
        ChatTemplate.AUTO,
        "Template of a row.",
        parse=parse_template,
        metavar=TEMPLATE_METAVAR,
    )
    template_date: str = setting(
        DEFAULT_DAY,
        "The date that a chat template prints.",
        parse=parse_day,
        metavar="YYYY-MM-DD",
    )
    system_prompt: str | None = setting(None, "System prompt for rows without one.")
    history: History = setting(
        History.ERROR,
        "Answers that the template rewrites later: refuse, learn the last, or split the row.",
    )
    learn: LearnedParts = setting(
        LearnedParts.ANSWERS,
        "What is learned of a row: its answers, the last one, or every token.",
    )
    on_control_text: ControlText = setting(
        ControlText.TEXT,
        "Rows that spell a control token: keep as text, refuse, skip or make it.",
    )
    seq_len: int = setting(512, "Largest number of tokens per row.", allowed=number_ranges.SEQ_LEN)
    ce_last_k: int | None = setting(
        None,
        "Show only the last N supervised tokens as learned.",
        flags=("--ce-last-k", "--qlora-ce-last-k"),
        allowed=number_ranges.COUNT,
    )
    min_rating: int | None = setting(
        3, "Skip rows with a lower rating.", allowed=number_ranges.RATING
    )
    context_filter: str | None = setting(None, "Use only rows whose category contains this.")
    on_bad_row: OnBadRow = setting(OnBadRow.ERROR, "What to do with rows that cannot be used.")
    on_long_row: OnLongRow = setting(
        OnLongRow.TRUNCATE, "What to do with rows longer than --seq-len."
    )
    text_chunk_chars: int = setting(
        MOST_CHARACTERS,
        "Most characters of a row of plain text or Markdown.",
        allowed=number_ranges.TEXT_CHARS,
    )
    use_row_cache: bool = setting(
        True, "Keep the rows of large files as token ids, for a quick next start.", name="row_cache"
    )
    row_cache_dir: Path | None = setting(
        None, "Folder that keeps them.", default_text="vox-mens in the user's cache folder"
    )

    def __post_init__(self) -> None:
        require_settings(self)

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
            raise DataError(say.no_such_row(request.row, len(rows)).at(where))
        return [request.row - 1]
    if request.line is not None:
        every, line = range(len(rows)), request.line
        # Rows are in the order of the file, so few of them have to be read again.
        first = bisect_left(every, line, key=lambda each: rows.record(each).line)
        after = bisect_right(every, line, key=lambda each: rows.record(each).line)
        if first == after:
            raise DataError(say.line_has_no_row(line).at(where))
        return range(first, after)
    return range(min(request.count, len(rows)))
