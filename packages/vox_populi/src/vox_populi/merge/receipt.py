"""`merge_receipt.json`: what a merge read, changed, checked and wrote. No torch, paths or times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

RECEIPT_FILE = "merge_receipt.json"
RECEIPT_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorChange:
    """One tensor that carries an update."""

    name: str
    dtype: str
    """Of base and output, in the format's words: `F32`, `BF16`, `F16`."""
    shape: tuple[int, ...]
    max_delta: float
    """Greatest absolute value of the update."""
    mean_delta: float
    """Mean absolute value of the update."""
    changed_values: int
    """Numbers that are others in the output, after its rounding."""
    values: int

    @property
    def is_changed(self) -> bool:
        """Whether any of the update survived the rounding."""
        return self.changed_values > 0


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
"""By the number type of the changed tensors; the coarsest decides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitCheck:
    """Base with adapter beside it, against what was written, on the same tokens."""

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

    def as_json(self) -> dict[str, object]:
        """The receipt's `logits`."""
        return {
            "prompts": [list(ids) for ids in self.prompts],
            "method": self.method,
            "max_difference": self.max_difference,
            "mean_difference": self.mean_difference,
            "largest_logit": self.largest_logit,
            "allowed": self.allowed,
            "tolerance": asdict(self.tolerance),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitDistance:
    """How far one model's logits are from another's on the same tokens."""

    max_difference: float
    mean_difference: float
    largest_logit: float
    """Greatest absolute logit of the model that is measured from."""
    same_top_token: float
    """Share of positions whose likeliest token is the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QloraReceipt:
    """What a merge of a QLoRA adapter says besides."""

    onto: str
    """`original` or `dequant`: the weights that the update was added to."""
    graph: str
    """What the adapter was trained in."""
    quantization: Mapping[str, object]
    rounded_tensors: int
    """Tensors that lay in NF4 during training."""
    distances: Mapping[str, LogitDistance]
    """By `original` and `dequant`: the merge onto these weights, from the adapter beside the
    weights it was trained on."""

    def as_json(self) -> dict[str, object]:
        """The receipt's `qlora`."""
        return {
            "onto": self.onto,
            "graph_id": self.graph,
            "quantization": dict(self.quantization),
            "rounded_tensors": self.rounded_tensors,
            "logit_difference_from_training": {
                name: asdict(distance) for name, distance in self.distances.items()
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeReceipt:
    """The proof that goes with a merged model."""

    output_format: str
    adapter: Mapping[str, object]
    """What the adapter says about itself, for whoever serves the result."""
    base: Mapping[str, object]
    changes: tuple[TensorChange, ...]
    """In forward order."""
    n_tensors: int
    total_bytes: int
    is_head_tied: bool
    logits: LogitCheck | None
    """`None` for a part of a model, which computes nothing by itself."""
    read: Mapping[str, str]
    """Digest by name of file."""
    written: Mapping[str, str]
    """Digest by name of file, this receipt excepted."""
    notes: tuple[str, ...] = ()
    qlora: QloraReceipt | None = None

    @property
    def n_changed(self) -> int:
        """Tensors with at least one number that is another."""
        return sum(change.is_changed for change in self.changes)

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
            "changes": [_change_json(change) for change in self.changes],
            "logits": None if self.logits is None else self.logits.as_json(),
            **({} if self.qlora is None else {"qlora": self.qlora.as_json()}),
            "read": dict(self.read),
            "written": dict(self.written),
            "notes": list(self.notes),
        }


def _change_json(change: TensorChange) -> dict[str, object]:
    return {
        "name": change.name,
        "dtype": change.dtype,
        "shape": list(change.shape),
        "max_delta": change.max_delta,
        "mean_delta": change.mean_delta,
        "changed_values": change.changed_values,
        "values": change.values,
    }
