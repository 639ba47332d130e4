"""What the pipeline answers: frozen values, no behaviour, no torch.

Every answer has `as_json()`; the command line adds `"ok": true` and nothing else. What the
pipeline is asked is in `pipeline.requests` and can be had from here as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vox_populi.artifacts.json_numbers import JsonObject, finite_or_none, perplexity_of
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.pipeline.eval_report import AnswerScore, EvalReport, Measured, SourceLoss
from vox_populi.pipeline.requests import (
    EvalRequest,
    GenerateRequest,
    PreviewRequest,
    Prompt,
    RunOptions,
    WeightsChoice,
)
from vox_populi.plan.execution_planner import ExecutionPlan
from vox_populi.plan.plan_report import plan_as_json
from vox_populi.plan.preflight import PreflightReport

__all__ = [
    "AnswerScore",
    "EvalReport",
    "EvalRequest",
    "GenerateRequest",
    "GenerateResult",
    "HeldoutPoint",
    "JsonObject",
    "Measured",
    "PlannedRun",
    "PreviewRequest",
    "PreviewRow",
    "Prompt",
    "RunOptions",
    "RunState",
    "SourceLoss",
    "StatusReport",
    "StepTrialReport",
    "TrainReport",
    "WeightsChoice",
    "finite_or_none",
    "perplexity_of",
]


class RunState(StrEnum):
    """How far a run is, as its folder tells."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """Nobody holds the folder and nothing says that the run ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """A request that passed every check, with what will be done about it."""

    contract: FinetuneContract
    preflight: PreflightReport
    plan: ExecutionPlan

    @property
    def notes(self) -> tuple[str, ...]:
        """Settings without effect and other things the operator should know."""
        return tuple(dict.fromkeys((*self.preflight.notes, *self.plan.notes)))

    def as_json(self) -> JsonObject:
        """What `--dry-run --json` prints."""
        return {**plan_as_json(self.plan), "notes": list(self.notes)}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldoutPoint:
    """One evaluation during a run."""

    step: int
    """Optimizer steps done; 0 is the base model."""
    loss: float
    """Mean over the supervised tokens of the held-out rows, in nats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainReport:
    """What a finished run did and where its files are."""

    run: Path
    steps: int
    planned_steps: int
    tokens: int
    """Tokens that went through the model in training, supervised or not."""
    supervised_tokens: int
    train_loss: float | None
    """Mean over the supervised tokens of the last epoch that was trained on, in nats."""
    heldout_loss_before: float | None
    """`None` without held-out rows, as for the next two."""
    heldout_loss_after: float | None
    evaluations: tuple[HeldoutPoint, ...] = ()
    stopped_early: bool = False
    seconds: float
    """Wall time of the training loop, evaluations included, loading excluded."""
    peak_memory_bytes: int | None
    device: str
    compute_dtype: str
    graph_id: str | None = None
    """What was trained; losses of another graph than the full one compare with none of its."""
    artifacts: Mapping[str, Path]
    """File kind to path: `adapter`, `manifest`, `telemetry`, `model_card`, …"""
    resumed_from: int | None = None
    """Step of the checkpoint that this session went on from."""
    tokens_before: int = 0
    """Of `tokens`, those of earlier sessions; `seconds` is this session's alone."""
    notes: tuple[str, ...] = ()

    @property
    def tokens_per_second(self) -> float:
        """All tokens of this session, not only supervised ones."""
        return (self.tokens - self.tokens_before) / self.seconds if self.seconds > 0 else 0.0

    def as_json(self) -> JsonObject:
        """The fields of `vox mens train --json`."""
        return {
            "run": str(self.run),
            "steps": self.steps,
            "planned_steps": self.planned_steps,
            "tokens": self.tokens,
            "supervised_tokens": self.supervised_tokens,
            "train_loss": finite_or_none(self.train_loss),
            "heldout_loss_before": finite_or_none(self.heldout_loss_before),
            "heldout_loss_after": finite_or_none(self.heldout_loss_after),
            "evaluations": [{"step": p.step, "loss": p.loss} for p in self.evaluations],
            "stopped_early": self.stopped_early,
            "seconds": round(self.seconds, 3),
            "tokens_per_second": round(self.tokens_per_second, 1),
            "peak_memory_bytes": self.peak_memory_bytes,
            "device": self.device,
            "compute_dtype": self.compute_dtype,
            "graph_id": self.graph_id,
            "artifacts": {kind: str(path) for kind, path in self.artifacts.items()},
            "resumed_from": self.resumed_from,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTrialReport:
    """What `--dry-run=step` measured: one step, one evaluation, one save, all thrown away."""

    planned: PlannedRun
    step_seconds: float
    evaluation_seconds: float | None
    save_seconds: float
    loss: float
    heldout_loss: float | None
    adapter_bytes: int
    """Size of the adapter file as saved."""
    measured_peak_bytes: int | None
    """Peak of the device's allocator, or of the process on a CPU."""

    def as_json(self) -> JsonObject:
        """The plan plus a `trial` object."""
        return {
            **self.planned.as_json(),
            "trial": {
                "step_seconds": round(self.step_seconds, 3),
                "evaluation_seconds": _rounded(self.evaluation_seconds),
                "save_seconds": round(self.save_seconds, 3),
                "loss": finite_or_none(self.loss),
                "heldout_loss": finite_or_none(self.heldout_loss),
                "adapter_bytes": self.adapter_bytes,
                "measured_peak_bytes": self.measured_peak_bytes,
                "estimated_peak_bytes": self.planned.plan.memory.total,
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRow:
    """One row as ids and labels."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    """Unshifted, `-100` where a token is not learned."""
    pieces: tuple[tuple[str, bool], ...]
    """Stretches of the text with whether they are learned, in order."""
    source_line: int
    source: str | None = None

    @property
    def text(self) -> str:
        """The row's text with its control tokens."""
        return "".join(piece for piece, _ in self.pieces)

    def as_json(self) -> JsonObject:
        """One line of `vox mens preview --json`."""
        return {
            "ids": list(self.ids),
            "labels": list(self.labels),
            "text": self.text,
            "source_line": self.source_line,
            "source": self.source,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateResult:
    """What a model wrote after one prompt."""

    prompt: str
    text: str
    ids: tuple[int, ...]
    """New tokens only, without the one that ended the text."""
    stop_reason: str
    """`stop_token` (the model closed its turn), `length`, `context` (no positions left), or in
    a chat `interrupted`."""
    row_id: str | int | None = None
    """What the row of a prompts file calls itself."""
    notes: tuple[str, ...] = ()
    """About the weights; the same for all prompts of a request."""

    def as_json(self) -> JsonObject:
        """One line of `vox mens generate --json`; `id` where the prompt had one."""
        named = {} if self.row_id is None else {"id": self.row_id}
        return {
            **named,
            "prompt": self.prompt,
            "text": self.text,
            "ids": list(self.ids),
            "stop_reason": self.stop_reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """What a run folder says about its run."""

    run: Path
    state: RunState
    step: int
    """Optimizer steps done, as far as telemetry tells."""
    planned_steps: int | None
    epoch: int | None
    """The one that the last step belongs to, from 1."""
    train_loss: float | None
    """Mean of the last epoch; while a run is going on, of the last step that was logged."""
    heldout_loss_before: float | None
    heldout_loss: float | None
    """Of the last evaluation."""
    supervised_tokens: int | None
    tokens_per_second: float | None
    """Mean of the last session, evaluations included, as `TrainReport` has it."""
    eta_seconds: float | None
    """Of a run that is going on."""
    holder: str | None
    """Who holds the folder's lock: process id and host."""
    checkpoints: tuple[str, ...]
    artifacts: Mapping[str, Path]
    telemetry: Mapping[str, object]
    """Number of lines, of lines that could not be read, and of each event."""
    failure: str | None
    """Why a failed run stopped."""
    graph_id: str | None = None
    """What is trained, as far as telemetry tells."""
    last_step_tokens_per_second: float | None = None
    """Of the last step alone."""

    def as_json(self) -> JsonObject:
        """The fields of `vox mens status --json`."""
        plain = {
            name: getattr(self, name) for name in self.__slots__ if name not in ("run", "artifacts")
        }
        return {
            "run": str(self.run),
            **plain,
            "checkpoints": list(self.checkpoints),
            "artifacts": {kind: str(path) for kind, path in self.artifacts.items()},
            "telemetry": dict(self.telemetry),
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
