"""Measuring a model on rows: request, report and function. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi import number_ranges
from vox_populi.contract.setting import require_settings, setting, setting_metadata
from vox_populi.data.asked_rows import AskedRows
from vox_populi.data.dataset import OnBadRow, OnLongRow, RowRules
from vox_populi.data.learned_parts import LearnedParts
from vox_populi.data.row_files.text_rows import MOST_CHARACTERS
from vox_populi.data.template_rows import History
from vox_populi.files.json_numbers import JsonObject, finite_or_none, perplexity_of
from vox_populi.pipeline.early_refusals import refuse_all, require_rows, weights_checks
from vox_populi.pipeline.runners import load_runner
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_tensor.records import TrainingRecord

UNKNOWN_SOURCE = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRequest(RowRules):
    """Files of rows to measure a model on."""

    data: AskedRows = field(
        metadata=setting_metadata(
            "File of rows, or folder with test or held-out rows; repeat it for more.",
            metavar="FILE|DIR",
        )
    )
    weights: WeightsChoice = field(default_factory=WeightsChoice)
    seq_len: int | None = setting(
        None,
        "Largest number of tokens per row.",
        allowed=number_ranges.SEQ_LEN,
        default_text="the run's, else 512",
    )
    min_rating: int | None = setting(
        None, "Skip rows with a lower rating.", allowed=number_ranges.RATING
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
    learn: LearnedParts = setting(
        LearnedParts.ANSWERS,
        "What is measured of a row: its answers, the last one, or every token.",
    )
    history: History = setting(
        History.LAST,
        "Answers that the model's template rewrites later: refuse, measure the last, or each in a"
        " row of its own.",
    )
    use_row_cache: bool = setting(
        True, "Keep the rows of large files as token ids, for a quick next start.", name="row_cache"
    )
    row_cache_dir: Path | None = setting(
        None, "Folder that keeps them.", default_text="vox-mens in the user's cache folder"
    )
    generate: int = setting(
        0,
        "Also answer N rows, taking each source in turn, and compare.",
        allowed=number_ranges.COUNT_OR_NONE,
    )
    """The first row of each source, in the order of their names, then the second of each, ..."""
    max_new_tokens: int = setting(
        256, "Largest number of tokens per answer.", allowed=number_ranges.NEW_TOKENS
    )
    compare_base: bool = setting(False, "Also measure the base without its adapter.")

    def __post_init__(self) -> None:
        require_settings(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerScore:
    """Scores of the answers to rows."""

    rows: int
    """Number of answered rows; an answer is empty if the prompt left no room."""
    exact: int
    """Answers equal to the row's, ignoring surrounding whitespace."""
    python: int
    """Answers that Python can parse, or whose fenced code it can; an empty one does not count."""
    expected_python: int
    """The same count for the rows' own answers: the maximum of `python`."""
    blank: int = 0
    """Answers that are empty or invisible."""
    cut: int = 0
    """Answers cut off at the limit of tokens or positions."""

    @classmethod
    def total(cls, scores: Iterable[AnswerScore]) -> AnswerScore | None:
        """All of them together; `None` for none."""
        found = list(scores)
        if not found:
            return None
        return cls(
            rows=sum(each.rows for each in found),
            exact=sum(each.exact for each in found),
            python=sum(each.python for each in found),
            expected_python=sum(each.expected_python for each in found),
            blank=sum(each.blank for each in found),
            cut=sum(each.cut for each in found),
        )

    def as_json(self) -> JsonObject:
        """Counts and shares."""
        return {
            "rows": self.rows,
            "exact": self.exact,
            "python": self.python,
            "expected_python": self.expected_python,
            "exact_share": self.exact / self.rows,
            "python_share": self.python / self.rows,
            "expected_python_share": self.expected_python / self.rows,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLoss:
    """The share of one source in an evaluation."""

    source: str
    loss: float
    rows: int
    supervised_tokens: int
    answers: AnswerScore | None = None

    def as_json(self) -> JsonObject:
        """One entry of `sources`."""
        return {
            "source": self.source,
            "loss": finite_or_none(self.loss),
            "perplexity": perplexity_of(self.loss),
            "rows": self.rows,
            "supervised_tokens": self.supervised_tokens,
            "answers": _answers_json(self.answers),
        }


@dataclass(frozen=True, slots=True)
class Measured:
    """One model on a file, source by source."""

    sources: tuple[SourceLoss, ...]
    """Sources in the order of their names."""

    @property
    def supervised_tokens(self) -> int:
        """Supervised tokens of all rows."""
        return sum(source.supervised_tokens for source in self.sources)

    @property
    def loss(self) -> float:
        """Mean over supervised tokens, in nats; for a single source, exactly its loss."""
        if len(self.sources) == 1:
            # `x * n / n` is not always x.
            return self.sources[0].loss
        total = sum(source.loss * source.supervised_tokens for source in self.sources)
        return total / self.supervised_tokens

    @property
    def answers(self) -> AnswerScore | None:
        """Scores over all sources; `None` if nothing was answered."""
        return AnswerScore.total(each.answers for each in self.sources if each.answers is not None)

    def as_json(self) -> JsonObject:
        """Totals, and `sources`."""
        return {
            "loss": finite_or_none(self.loss),
            "perplexity": perplexity_of(self.loss),
            "answers": _answers_json(self.answers),
            "sources": [source.as_json() for source in self.sources],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalReport:
    """How well a model predicts, and perhaps answers, the rows of a file."""

    model: str
    """Name of the base folder."""
    adapter: Path | None
    """Adapter file or folder used on top of it."""
    measured: Measured
    base: Measured | None = None
    """The base without the adapter, if requested."""
    rows: int
    truncated_rows: int
    skipped_rows: int
    seconds: float
    device: str
    compute_dtype: str
    notes: tuple[str, ...] = ()

    @property
    def loss(self) -> float:
        """Mean over supervised tokens, in nats."""
        return self.measured.loss

    @property
    def supervised_tokens(self) -> int:
        """Supervised tokens of all rows."""
        return self.measured.supervised_tokens

    @property
    def sources(self) -> tuple[SourceLoss, ...]:
        """Sources in the order of their names."""
        return self.measured.sources

    def as_json(self) -> JsonObject:
        """The fields of `vox mens eval --json`."""
        return {
            "model": self.model,
            "adapter": None if self.adapter is None else str(self.adapter),
            **self.measured.as_json(),
            "base": None if self.base is None else self.base.as_json(),
            "rows": self.rows,
            "supervised_tokens": self.supervised_tokens,
            "truncated_rows": self.truncated_rows,
            "skipped_rows": self.skipped_rows,
            "seconds": round(self.seconds, 3),
            "device": self.device,
            "compute_dtype": self.compute_dtype,
            "notes": list(self.notes),
        }


def _answers_json(answers: AnswerScore | None) -> JsonObject | None:
    return None if answers is None else answers.as_json()


def evaluate(request: EvalRequest) -> EvalReport:
    """Mean loss over the supervised tokens of a file and, if requested, scores of answers.

    Raises:
        VoxError: For unusable weights, rows or machine.
    """
    module = load_runner(
        "evaluate_run",
        lambda: refuse_all(lambda: require_rows(request.data), *weights_checks(request.weights)),
    )
    report: EvalReport = module.evaluate(request)
    return report


def source_label(record: TrainingRecord) -> str:
    """The row's source without the position in it, otherwise its category.

    `json.decoder:JSONDecoder.decode` and `notes.md:12` come from `json.decoder` and `notes.md`;
    an address such as `https://host/page` stays whole.
    """
    source = record.source or record.category or UNKNOWN_SOURCE
    head, _, place = source.rpartition(":")
    return head if head and not place.startswith("//") else source
