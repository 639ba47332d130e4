"""Settings that belong together: the contract has them, the plan and the engine pass them on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vox_populi.contract.choices import (
    DEVICE_WORDS,
    DTYPE_WORDS,
    ActivationMemoryChoice,
    ComputeDtype,
    DeviceKind,
    PrefixSharing,
    ShardChoice,
)
from vox_populi.contract.optimizer_choice import OPTIMIZERS, OptimizerKind
from vox_populi.contract.setting import Recorded, SettingSpec, setting, settings_in
from vox_populi.data.trajectory_weights import TrajectoryRules
from vox_populi.number_ranges import (
    BATCH_SIZE,
    COUNT,
    COUNT_OR_NONE,
    FACTOR,
    GIBIBYTES,
    GRAD_ACCUM,
    LEARNING_RATE,
    NORM,
    RATING,
    ROW_WEIGHT,
    SEQ_LEN,
    THREADS,
)
from vox_tensor.schedule import LearningRateSchedule, ScheduleKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSettings:
    """The learning rate over a run."""

    learning_rate: float = setting(
        2e-4, "Peak learning rate.", name="lr", allowed=LEARNING_RATE, default_text="2e-4"
    )
    schedule: ScheduleKind = setting(
        ScheduleKind.COSINE, "Learning rate schedule after the warm-up."
    )
    warmup_steps: int = setting(100, "Warm-up steps.", name="warmup", allowed=COUNT_OR_NONE)

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

    optimizer: OptimizerKind = setting(
        OptimizerKind.ADAMW, "Optimizer.", recorded=Recorded.IF_CHANGED
    )
    weight_decay: float = setting(0.01, "Weight decay.", allowed=FACTOR)
    max_grad_norm: float = setting(1.0, "Clip the gradients of a step to this norm.", allowed=NORM)
    """Gradients of a step are scaled down to this joint L2 norm; 0 leaves them as they are."""

    def __str__(self) -> str:
        """The settings as shown in a plan."""
        norm = f"clipped to {self.max_grad_norm:g}" if self.max_grad_norm else "not clipped"
        title = OPTIMIZERS[self.optimizer].title
        return f"{title}, weight decay {self.weight_decay:g}, gradient norm {norm}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """How many rows and tokens are computed together."""

    seq_len: int = setting(512, "Largest number of tokens per row.", allowed=SEQ_LEN)
    batch_size: int = setting(4, "Rows per forward pass.", allowed=BATCH_SIZE)
    grad_accum: int = setting(4, "Forward passes per optimizer step.", allowed=GRAD_ACCUM)
    share_prefixes: PrefixSharing = setting(
        PrefixSharing.AUTO,
        "Compute once what rows of a step begin with alike.",
        recorded=Recorded.IF_CHANGED,
    )
    micro_batches: int | None = setting(
        None,
        "Spread the rows of a step over a multiple of N forward passes.",
        allowed=GRAD_ACCUM,
        default_text="as few passes as the rows need",
        recorded=Recorded.IF_CHANGED,
    )
    """Several processes share the passes of a step; with a multiple of their number, none waits."""

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

    eval_every: int | None = setting(
        None, "Steps between evaluations.", allowed=COUNT, default_text="an epoch's"
    )
    """Optimizer steps between evaluations; `None` evaluates at the end of each epoch."""
    early_stopping_patience: int | None = setting(
        None, "Evaluations without improvement before stopping.", allowed=COUNT
    )
    """Evaluations before stopping, keeping the best adapter; `None` never stops early."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeSettings:
    """Device, number type and threads of a run."""

    device: DeviceKind = setting(DeviceKind.BEST, "Device to compute on.", words=DEVICE_WORDS)
    dtype: ComputeDtype = setting(ComputeDtype.AUTO, "Arithmetic of the base.", words=DTYPE_WORDS)
    threads: int | None = setting(
        None, "CPU threads.", allowed=THREADS, default_text="torch's", recorded=Recorded.NEVER
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySettings:
    """How a run saves memory at the price of time, with the same result."""

    activation_memory: ActivationMemoryChoice = setting(
        ActivationMemoryChoice.AUTO,
        "Compute activations again instead of keeping them: less memory, more time.",
        recorded=Recorded.NEVER,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingSettings:
    """How several processes share a run; the result is the same."""

    shard: ShardChoice = setting(
        ShardChoice.AUTO,
        "Whether several processes hold the base together, each a part.",
        recorded=Recorded.NEVER,
    )
    device_memory: float | None = setting(
        None,
        "Memory in GiB that a process may use.",
        allowed=GIBIBYTES,
        default_text="what its device has",
        recorded=Recorded.NEVER,
    )
    """A plan with it is for another machine, whose device need not be here."""


TRAJECTORY_SETTINGS = settings_in(
    TrajectoryRules,
    trajectory_weighting_enabled=SettingSpec(
        help="Weigh rows by category and rating.", recorded=Recorded.IF_CHANGED
    ),
    trajectory_tool_trace_boost=SettingSpec(
        help="Factor for categories with tool_trace or trajectory.",
        allowed=ROW_WEIGHT,
        recorded=Recorded.IF_CHANGED,
    ),
    trajectory_failure_category_boost=SettingSpec(
        help="Factor for categories with fail or error.",
        allowed=ROW_WEIGHT,
        recorded=Recorded.IF_CHANGED,
    ),
    trajectory_quality_floor=SettingSpec(
        help="Lowest rating for --trajectory-quality-boost.",
        allowed=RATING,
        recorded=Recorded.IF_CHANGED,
    ),
    trajectory_quality_boost=SettingSpec(
        help="Factor for rows of at least that rating.",
        allowed=ROW_WEIGHT,
        recorded=Recorded.IF_CHANGED,
    ),
)
"""How the weights that follow from labels are asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenanceSettings:
    """The origin of the base, as the operator states it; nothing here is looked up."""

    base_model_family: str | None = setting(
        None, "Family of the base, for manifest and card.", recorded=Recorded.IF_CHANGED
    )
    upstream_model_id: str | None = setting(
        None, "Name of the base where it was published.", recorded=Recorded.IF_CHANGED
    )
    license_class: str | None = setting(
        None, "Licence of the base, such as apache-2.0.", recorded=Recorded.IF_CHANGED
    )
    attribution_required: bool = setting(
        False, "Say that the base's licence asks for attribution.", recorded=Recorded.IF_CHANGED
    )

    def as_manifest(self) -> dict[str, object]:
        """The source system's keys of a training manifest; none if nothing was stated."""
        stated = {
            "provenance_base_family": self.base_model_family,
            "provenance_upstream_model_id": self.upstream_model_id,
            "provenance_license_class": self.license_class,
        }
        found: dict[str, object] = {name: each for name, each in stated.items() if each is not None}
        if found or self.attribution_required:
            found["provenance_attribution_required"] = self.attribution_required
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCacheSettings:
    """Whether and where the rows of large files are kept as token ids."""

    use_row_cache: bool = setting(
        True,
        "Keep the rows of large files as token ids, for a quick next start.",
        name="row_cache",
        recorded=Recorded.NEVER,
    )
    row_cache_dir: Path | None = setting(
        None,
        "Folder that keeps them.",
        default_text="vox-mens in the user's cache folder",
        recorded=Recorded.NEVER,
    )
