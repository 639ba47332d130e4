"""Settings that belong together: the contract has them, the plan and the engine pass them on."""

from __future__ import annotations

from dataclasses import dataclass, field

from vox_populi import number_ranges
from vox_populi.contract.choices import DEVICE_WORDS, DTYPE_WORDS, ComputeDtype, DeviceKind
from vox_populi.contract.optimizer_choice import OPTIMIZERS, OptimizerKind
from vox_populi.contract.setting import Recorded, setting
from vox_tensor.schedule import LearningRateSchedule, ScheduleKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSettings:
    """The learning rate over a run."""

    learning_rate: float = field(
        default=2e-4,
        metadata=setting(
            "Peak learning rate.",
            name="lr",
            allowed=number_ranges.LEARNING_RATE,
            default_text="2e-4",
        ),
    )
    schedule: ScheduleKind = field(
        default=ScheduleKind.COSINE, metadata=setting("Learning rate schedule after the warm-up.")
    )
    warmup_steps: int = field(
        default=100,
        metadata=setting("Warm-up steps.", name="warmup", allowed=number_ranges.COUNT_OR_NONE),
    )

    def over(self, total_steps: int, warmup_steps: int) -> LearningRateSchedule:
        """The rate of every step of a run; its warm-up may be shorter than requested."""
        return LearningRateSchedule(
            kind=self.schedule,
            peak=self.learning_rate,
            warmup_steps=warmup_steps,
            total_steps=total_steps,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizationSettings:
    """How a step changes the adapters, apart from the rate."""

    optimizer: OptimizerKind = field(
        default=OptimizerKind.ADAMW,
        metadata=setting("Optimizer.", recorded=Recorded.IF_CHANGED),
    )
    weight_decay: float = field(
        default=0.01, metadata=setting("Weight decay.", allowed=number_ranges.FACTOR)
    )
    max_grad_norm: float = field(
        default=1.0,
        metadata=setting("Clip the gradients of a step to this norm.", allowed=number_ranges.NORM),
    )
    """Gradients of a step are scaled down to this joint L2 norm; 0 leaves them as they are."""

    def __str__(self) -> str:
        """The settings as shown in a plan."""
        norm = f"clipped to {self.max_grad_norm:g}" if self.max_grad_norm else "not clipped"
        title = OPTIMIZERS[self.optimizer].title
        return f"{title}, weight decay {self.weight_decay:g}, gradient norm {norm}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """How many rows and tokens are computed together."""

    seq_len: int = field(
        default=512,
        metadata=setting("Largest number of tokens per row.", allowed=number_ranges.SEQ_LEN),
    )
    batch_size: int = field(
        default=4, metadata=setting("Rows per forward pass.", allowed=number_ranges.BATCH_SIZE)
    )
    grad_accum: int = field(
        default=4,
        metadata=setting("Forward passes per optimizer step.", allowed=number_ranges.GRAD_ACCUM),
    )

    @property
    def window_tokens(self) -> int:
        """Largest number of tokens in a forward pass, with packed rows."""
        return self.batch_size * self.seq_len

    @property
    def rows_per_step(self) -> int:
        """Rows that an optimizer step learns from."""
        return self.batch_size * self.grad_accum


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """When a run is evaluated, and what stops it early."""

    eval_every: int | None = field(
        default=None,
        metadata=setting(
            "Steps between evaluations.", allowed=number_ranges.COUNT, default_text="an epoch's"
        ),
    )
    """Optimizer steps between evaluations; `None` evaluates at the end of each epoch."""
    early_stopping_patience: int | None = field(
        default=None,
        metadata=setting(
            "Evaluations without improvement before stopping.", allowed=number_ranges.COUNT
        ),
    )
    """Evaluations before stopping, keeping the best adapter; `None` never stops early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeSettings:
    """Device, number type and threads of a run."""

    device: DeviceKind = field(
        default=DeviceKind.BEST, metadata=setting("Device to compute on.", words=DEVICE_WORDS)
    )
    dtype: ComputeDtype = field(
        default=ComputeDtype.AUTO, metadata=setting("Arithmetic of the base.", words=DTYPE_WORDS)
    )
    threads: int | None = field(
        default=None,
        metadata=setting(
            "CPU threads.",
            allowed=number_ranges.THREADS,
            default_text="torch's",
            recorded=Recorded.NEVER,
        ),
    )
