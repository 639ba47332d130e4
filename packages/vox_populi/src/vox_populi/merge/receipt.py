"""`merge_receipt.json`: what a merge read, changed, checked and wrote. No torch, paths or times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import sqrt

from vox_populi.files.json_numbers import finite_or_none
from vox_populi.files.json_report import HIDDEN, JsonReport, json_fields, shown

RECEIPT_FILE = "merge_receipt.json"
RECEIPT_SCHEMA_VERSION = 2
"""2 added `number_type`, `update`, `rows`, and `relative_error` in `changes`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorChange(JsonReport):
    """One tensor with an update."""

    name: str
    dtype: str
    """Number type of base and output, in the format's names: `F32`, `BF16`, `F16`."""
    shape: tuple[int, ...]
    max_delta: float
    """Greatest absolute value of the update."""
    mean_delta: float
    """Mean absolute value of the update."""
    changed_values: int
    """Numbers that differ from the base's in the output, after its rounding."""
    values: int
    squared_delta: float = field(metadata=HIDDEN)
    """Sum of the squares of the update."""
    squared_error: float = field(metadata=HIDDEN)
    """Sum of the squares of the output's rounding errors."""

    @property
    def is_changed(self) -> bool:
        """Whether any of the update survived the rounding."""
        return self.changed_values > 0

    @property
    def relative_error(self) -> float:
        """Norm of the rounding error over the norm of the update; 0 if the update is zero."""
        return relative_error([self])

    def as_json(self) -> dict[str, object]:
        """An entry of the receipt's `changes`."""
        return {**json_fields(self), "relative_error": self.relative_error}


def relative_error(changes: Iterable[TensorChange]) -> float:
    """Relative error of updates as one: `||written - (W + update)|| / ||update||` (Frobenius)."""
    taken = list(changes)
    squared_delta = sum(change.squared_delta for change in taken)
    squared_error = sum(change.squared_error for change in taken)
    return sqrt(squared_error / squared_delta) if squared_delta else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitTolerance:
    """How far merged logits may be from adapted ones: `share` of the largest logit, at least 1."""

    share: float
    why: str

    def bound(self, largest_logit: float) -> float:
        """The allowed difference."""
        return self.share * max(1.0, largest_logit)


LOGIT_TOLERANCES: Mapping[str, LogitTolerance] = {
    "F32": LogitTolerance(
        share=1e-4, why="f32 on both sides; W x + s B(A x) and (W + s B A) x round differently"
    ),
    "F16": LogitTolerance(
        share=1e-2, why="each merged weight is rounded to 11 bits, and errors add up over layers"
    ),
    "BF16": LogitTolerance(
        share=5e-2, why="each merged weight is rounded to 8 bits, and errors add up over layers"
    ),
}
"""Tolerances by number type of the changed tensors; the coarsest applies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitCheck(JsonReport):
    """Comparison of base plus unmerged adapter with the written model, on the same tokens."""

    prompts: tuple[tuple[int, ...], ...]
    """Token ids."""
    method: str
    """How the two sides were computed."""
    max_difference: float
    mean_difference: float
    largest_logit: float
    """Greatest absolute logit of base and adapter."""
    allowed: float
    tolerance: LogitTolerance

    @property
    def is_within(self) -> bool:
        """Whether the difference is explained by rounding; NaN is not."""
        return self.max_difference <= self.allowed


TIE_TOLERANCE = LogitTolerance(
    share=1e-4, why="two scores this close are one score in f32; which is first is chance"
)
"""How close an adapter's two best tokens are to count as equally likely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowTolerance:
    """How much of an adapter a merge may lose on rows formatted as in training."""

    agreement: float
    """Least share of learned positions at which adapter and merged model pick the same token."""
    kept_changes: float
    """The same for positions at which adapter and base pick different tokens: that is what was
    trained. Here, long answers cannot hide the loss of the few tokens that matter."""
    lost_gain: float
    """Largest share of the adapter's gain in loss that may be lost."""
    why: str


ROW_TOLERANCES: Mapping[str, RowTolerance] = {
    "merged": RowTolerance(
        agreement=0.97,
        kept_changes=0.98,
        lost_gain=0.1,
        why="SmolLM2-135M, 24 steps at 2e-4, merged into bf16: 96 % of the gain, 98 % of all"
        " choices, 97 % of the changed ones, and 5 of 12 answers differ; f16 keeps all of them",
    ),
    "other": RowTolerance(
        agreement=0.85,
        kept_changes=0.0,
        lost_gain=0.1,
        why="the base itself chooses otherwise in NF4, vox-nano at 8 % of the positions before any"
        " training, so that single choices say little of the update; its gain must stay",
    ),
}
"""`merged`: compared with the unmerged adapter on the weights it was merged into. `other`: compared
with the adapter as trained, if a QLoRA adapter is merged into the original weights."""
LOSS_ROUNDING = 1e-4
"""Nats by which two sums of the same losses in f32 may differ, whatever the adapter gained."""

UPDATE_TOLERANCE = 0.25
"""Relative error of the update up to which `auto` accepts a number type without check rows. In the
runs above f16 has 0.07 to 0.23 if it keeps everything, bf16 0.45 to 0.9."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCheck:
    """Base, adapter and merged model on the same rows, at the positions that were learned."""

    origin: str
    """`held_out` or `train`."""
    rows: int
    tokens: int
    learned: int
    """Positions."""
    changed: int
    """Positions at which base and adapter pick different tokens."""
    same: int
    """Positions at which adapter and merged model pick the same token."""
    kept: int
    """Number of changed positions at which the merged model picks the adapter's token."""
    base_loss: float
    """Mean over the learned positions, as the other two."""
    adapter_loss: float
    merged_loss: float
    tolerance: RowTolerance

    @property
    def agreement(self) -> float:
        """Share of learned positions with the same choice."""
        return self.same / self.learned

    @property
    def kept_changes(self) -> float | None:
        """Share of the changed choices that the merged model keeps; `None` if there are none."""
        return self.kept / self.changed if self.changed else None

    @property
    def gain_kept(self) -> float | None:
        """Share of the adapter's gain in loss that is kept; `None` without a gain."""
        gain = self.base_loss - self.adapter_loss
        return None if gain <= LOSS_ROUNDING else (self.base_loss - self.merged_loss) / gain

    @property
    def is_within(self) -> bool:
        """Whether the merged model still does what was trained; NaN does not."""
        gain = self.base_loss - self.adapter_loss
        lost = self.merged_loss - self.adapter_loss
        # An adapter that gained nothing has nothing to lose here, and its choices still count.
        keeps_gain = gain <= LOSS_ROUNDING or lost <= self.tolerance.lost_gain * gain
        kept = 1.0 if self.kept_changes is None else self.kept_changes
        keeps_choices = self.agreement >= self.tolerance.agreement
        return keeps_gain and keeps_choices and kept >= self.tolerance.kept_changes

    def as_json(self) -> dict[str, object]:
        """The receipt's `rows`: counts and losses, nothing of the rows themselves."""
        return {
            "origin": self.origin,
            "rows": self.rows,
            "tokens": self.tokens,
            "learned_positions": self.learned,
            "loss": {
                "base": finite_or_none(self.base_loss),
                "adapter": finite_or_none(self.adapter_loss),
                "merged": finite_or_none(self.merged_loss),
            },
            "gain_kept": finite_or_none(self.gain_kept),
            "same_choices": self.same,
            "agreement": self.agreement,
            "changed_choices": self.changed,
            "kept_changes": self.kept_changes,
            "is_within": self.is_within,
            "tolerance": asdict(self.tolerance),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitDistance:
    """How far one model's logits are from another's on the same tokens."""

    max_difference: float
    mean_difference: float
    largest_logit: float
    """Largest absolute logit of the reference model."""
    same_top_token: float
    """Share of positions whose likeliest token is the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QloraReceipt(JsonReport):
    """Additional facts about a merge of a QLoRA adapter."""

    onto: str
    """`original` or `dequant`: the weights that the update was added to."""
    graph: str = field(metadata=shown("graph_id"))
    """What the adapter was trained in."""
    quantization: Mapping[str, object]
    rounded_tensors: int
    """Number of tensors that were in NF4 during training."""
    distances: Mapping[str, LogitDistance] = field(metadata=shown("logit_difference_from_training"))
    """Differences by `original` and `dequant`: of the merge into these weights from the adapter on
    the weights it was trained on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedType(JsonReport):
    """A number type that did not keep what was trained."""

    name: str = field(metadata=shown("number_type"))
    relative_error: float
    reason: str
    """One sentence."""
    rows: RowCheck | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberTypeChoice(JsonReport):
    """The number type of an output."""

    asked: str
    """`auto`, `bf16`, `f16` or `f32`."""
    written: str
    """Name in a config: `float32`, `bfloat16`, `float16`."""
    tried: tuple[TriedType, ...] = ()
    """Smaller or closer types that `auto` rejected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeReceipt:
    """The proof that goes with a merged model."""

    output_format: str
    adapter: Mapping[str, object]
    """The adapter's header, for the person who serves the result."""
    base: Mapping[str, object]
    changes: tuple[TensorChange, ...]
    """In forward order."""
    n_tensors: int
    total_bytes: int
    is_head_tied: bool
    logits: LogitCheck | None
    """The logit check; `None` for a part of a model, which cannot be run."""
    number_type: NumberTypeChoice
    """The output's number type, and how it was chosen."""
    rows: RowCheck | None = None
    """The row check; `None` if the adapter's run has no check rows, and for a part of a model."""
    training_rows: RowCheck | None = None
    """The row check against the trained model; only for a QLoRA adapter on the original weights."""
    read: Mapping[str, str]
    """Digest by name of file."""
    written: Mapping[str, str]
    """Digest by name of file, this receipt excepted."""
    notes: tuple[str, ...] = ()
    qlora: QloraReceipt | None = None
    served_text: Mapping[str, object] | None = None
    """How template and end of the output differ from the base's; `None` if they are copies."""

    @property
    def n_changed(self) -> int:
        """Tensors with at least one number that differs from the base's."""
        return sum(change.is_changed for change in self.changes)

    @property
    def changed_share(self) -> float:
        """Share of the values of adapted tensors that differ from the base's."""
        values = sum(change.values for change in self.changes)
        return sum(change.changed_values for change in self.changes) / values

    def as_json(self) -> dict[str, object]:
        """Content of the file."""
        return {
            "schema_version": RECEIPT_SCHEMA_VERSION,
            "format": self.output_format,
            "adapter": dict(self.adapter),
            "base": dict(self.base),
            "tensors": self.n_tensors,
            "tensors_changed": self.n_changed,
            "tensors_copied": self.n_tensors - len(self.changes),
            "unchanged_after_rounding": [c.name for c in self.changes if not c.is_changed],
            "total_size": self.total_bytes,
            "tied_head": self.is_head_tied,
            "changes": [change.as_json() for change in self.changes],
            "number_type": self.number_type.as_json(),
            "update": {
                "relative_error": relative_error(self.changes),
                "changed_share": self.changed_share,
            },
            "logits": None if self.logits is None else self.logits.as_json(),
            "rows": None if self.rows is None else self.rows.as_json(),
            **_training_json(self.training_rows),
            **({} if self.qlora is None else {"qlora": self.qlora.as_json()}),
            **({} if self.served_text is None else {"served_text": dict(self.served_text)}),
            "read": dict(self.read),
            "written": dict(self.written),
            "notes": list(self.notes),
        }


def _training_json(rows: RowCheck | None) -> dict[str, object]:
    return {} if rows is None else {"rows_from_training": rows.as_json()}
