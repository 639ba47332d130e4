"""Settings and results of training: values, not files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from vox_populi.contract.setting_groups import EvaluationSettings, OptimizationSettings
from vox_tensor.schedule import LearningRateSchedule


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Settings of one run of the engine."""

    rows_per_step: int
    """Rows of an optimizer step, however they are packed into windows."""
    window_tokens: int
    """Largest number of tokens in a forward pass."""
    steps_per_epoch: int
    total_steps: int
    schedule: LearningRateSchedule
    seed: int
    optimization: OptimizationSettings = field(default_factory=OptimizationSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    micro_batches: int | None = None
    """The forward passes of a step are a multiple of it; `None` makes as few as can be."""
    difficulties: Sequence[float] | None = None
    """Difficulty of each training row, if easy ones come first; 0 for one without."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The held-out loss at a step: mean over supervised tokens."""

    step: int
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOutcome:
    """Everything a run produced, in memory."""

    adapter: Mapping[str, Tensor]
    """`<module>.lora_A` `[R, I]` and `<module>.lora_B` `[O, R]`, float32 on the CPU."""
    steps: int
    epochs_completed: int
    tokens: int
    """Tokens of the rows learned from, supervised or not."""
    supervised_tokens: int
    train_loss: float
    """Mean over the supervised tokens of the last epoch that was trained on."""
    evaluations: tuple[Evaluation, ...] = field(default_factory=tuple)
    best_step: int | None = None
    """Step the adapter was taken from, if early stopping chose it."""
    stopped_early: bool = False
    interrupted: bool = False
    saved_tokens: int = 0
    """The part of `tokens` that was not computed, since other rows of a step have them too."""
    tokens_before: int = 0
    """The part of `tokens` from earlier sessions; `seconds` covers only this session."""
    seconds: float = 0.0
    peak_memory_bytes: int = 0

    @property
    def valid_loss_before(self) -> float | None:
        """Held-out loss before the first step."""
        return self.evaluations[0].loss if self.evaluations else None

    @property
    def valid_loss_after(self) -> float | None:
        """Held-out loss of the returned adapter."""
        if not self.evaluations:
            return None
        if self.best_step is None:
            return self.evaluations[-1].loss
        return next(e.loss for e in self.evaluations if e.step == self.best_step)
