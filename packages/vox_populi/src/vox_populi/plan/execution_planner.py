"""From a request, a checkpoint's inventory and the machine to the work a kernel will do.

Pure: no torch, no file access. Whatever a kernel must decide is decided here, so that
`vox mens train --dry-run` prints exactly what a real run executes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

from vox_populi import operator_messages as say
from vox_populi.contract.finetune_contract import Backend, FinetuneContract
from vox_populi.errors import EnvironmentFailure, PlanError
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import AdapterModule
from vox_populi.hf.model_config import ModelConfig
from vox_populi.plan.adapter_selection import select_adapters
from vox_populi.plan.device_choice import MachineFacts, choose_device, device_problems
from vox_populi.plan.memory_estimate import (
    MemoryEstimate,
    WorkingSet,
    count_parameters,
    estimate_memory,
)
from vox_populi.plan.step_count import count_steps
from vox_tensor.errors import Problem
from vox_tensor.lora_spec import LoraSpec, lora_param_count
from vox_tensor.schedule import LearningRateSchedule

__all__ = [
    "FULL_GRAPH",
    "DataFacts",
    "ExecutionPlan",
    "Kernel",
    "MachineFacts",
    "plan_execution",
    "request_problems",
    "require_memory",
]


class Kernel(StrEnum):
    """The training kernels, under the names that manifests store."""

    BURN_LORA = "burn_lora"
    CANDLE_QLORA = "candle_qlora"


FULL_GRAPH = "full_graph_v1"
"""Every layer of the causal model is in the training graph."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """What preflight counted in the data."""

    n_train_rows: int
    n_valid_rows: int
    longest_row: int | None = None
    """Tokens of the longest row, after truncation; `None` where rows were not tokenised."""
    tokens: int | None = None
    """Of all rows, held-out ones included."""
    supervised_tokens: int | None = None
    """Those of `tokens` that are learned or judged."""
    has_valid_file: bool = False
    """Held-out rows come from `valid.jsonl`, not from a split of `train.jsonl`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionPlan:
    """Everything a kernel needs to know; kernels never look at the request."""

    kernel: Kernel
    graph: str
    objective_note: str
    """What the loss is, as manifests say it."""
    config: ModelConfig
    model_dir: Path
    adapters: tuple[AdapterModule, ...]
    """Layers that get an adapter, in forward order."""
    lora: LoraSpec
    device: str
    """torch's name: `cpu`, `cuda` or `mps`."""
    compute_dtype: str
    """Of frozen weights and activations: `float32` or `bfloat16`."""
    threads: int | None
    seq_len: int
    batch_size: int
    grad_accum: int
    window_tokens: int
    """Most tokens of one forward pass."""
    rows_per_step: int
    """Rows of one optimizer step."""
    epochs: int
    steps_per_epoch: int
    total_steps: int
    schedule: LearningRateSchedule
    weight_decay: float
    max_grad_norm: float
    eval_every: int | None
    early_stopping_patience: int | None
    seed: int
    data: DataFacts
    memory: MemoryEstimate
    memory_available: int | None
    """Of the chosen device, in bytes; `None` if unknown."""
    notes: tuple[str, ...]
    """Settings that were adapted or have no effect, and other things worth knowing."""

    @property
    def n_train_rows(self) -> int:
        """Rows of an epoch."""
        return self.data.n_train_rows

    @property
    def n_valid_rows(self) -> int:
        """Held-out rows."""
        return self.data.n_valid_rows

    @property
    def n_trainable(self) -> int:
        """Values that learn."""
        return sum(
            lora_param_count(m.in_features, m.out_features, self.lora.rank) for m in self.adapters
        )

    @property
    def n_base_parameters(self) -> int:
        """Values of the frozen base; a tied head counts once."""
        return count_parameters(self.config)

    @property
    def fits(self) -> bool | None:
        """Whether the estimate is within the device's memory; `None` if that is unknown."""
        if self.memory_available is None:
            return None
        return self.memory.total <= self.memory_available


def plan_execution(
    contract: FinetuneContract,
    inventory: ModelInventory,
    data: DataFacts,
    machine: MachineFacts,
) -> ExecutionPlan:
    """Decide kernel, graph, layers, device, dtype, window and steps.

    A plan for more memory than the machine has is still a plan, and a note says so: plans are
    made for other machines too. `require_memory` is what stops a run.

    Raises:
        PlanError: With everything that the base model or the data cannot meet.
        EnvironmentFailure: When all that is in the way is a device that is not there.
    """
    config = inventory.config
    _refuse(contract, config, data, machine)
    adapters = select_adapters(config, contract.targets).modules
    steps = count_steps(contract, data.n_train_rows)
    chosen = choose_device(contract, machine)
    window_tokens = contract.batch_size * contract.seq_len
    # A window is never fuller than all rows of a step.
    tokens = min(window_tokens, steps.rows_per_step * (data.longest_row or contract.seq_len))
    memory = estimate_memory(
        config,
        adapters,
        contract.lora,
        WorkingSet(tokens, chosen.compute_dtype, on_cpu=chosen.device == "cpu"),
    )
    notes = (
        *steps.notes,
        *chosen.notes,
        *_data_notes(contract, config, data),
        *_memory_notes(memory, chosen.memory_bytes),
    )
    return ExecutionPlan(
        kernel=Kernel.BURN_LORA,
        graph=FULL_GRAPH,
        objective_note=f"burn_lora_masked_{contract.template}_ce",
        config=config,
        model_dir=inventory.model_dir,
        adapters=adapters,
        lora=contract.lora,
        device=chosen.device,
        compute_dtype=chosen.compute_dtype,
        threads=contract.threads,
        seq_len=contract.seq_len,
        batch_size=contract.batch_size,
        grad_accum=contract.grad_accum,
        window_tokens=window_tokens,
        rows_per_step=steps.rows_per_step,
        epochs=steps.epochs,
        steps_per_epoch=steps.per_epoch,
        total_steps=steps.total,
        schedule=LearningRateSchedule(
            kind=contract.schedule,
            peak=contract.learning_rate,
            warmup_steps=steps.warmup,
            total_steps=steps.total,
        ),
        weight_decay=contract.weight_decay,
        max_grad_norm=contract.max_grad_norm,
        eval_every=contract.eval_every,
        early_stopping_patience=contract.early_stopping_patience,
        seed=contract.seed,
        data=data,
        memory=memory,
        memory_available=chosen.memory_bytes,
        notes=notes,
    )


def request_problems(contract: FinetuneContract, config: ModelConfig) -> Iterator[Problem]:
    """What of a request this base model, or this version, cannot meet, whatever the data."""
    if contract.backend is Backend.QLORA:
        yield say.qlora_not_built()
    yield from select_adapters(config, contract.targets).problems


def require_memory(plan: ExecutionPlan) -> None:
    """Stop a run that cannot fit, before any weight is read.

    Raises:
        EnvironmentFailure: When the estimate exceeds the device's memory.
    """
    if plan.fits is False and plan.memory_available is not None:
        raise EnvironmentFailure(
            say.memory_too_small(plan.device, plan.memory.total, plan.memory_available)
        )


def _refuse(
    contract: FinetuneContract, config: ModelConfig, data: DataFacts, machine: MachineFacts
) -> None:
    refused = (*request_problems(contract, config), *_data_problems(contract, config, data))
    absent = tuple(device_problems(contract.device, machine))
    if refused:
        raise PlanError(*refused, *absent)
    if absent:
        raise EnvironmentFailure(*absent)


def _data_problems(
    contract: FinetuneContract, config: ModelConfig, data: DataFacts
) -> Iterator[Problem]:
    if data.n_train_rows < 1:
        yield say.no_rows_to_train_on()
    if contract.early_stopping_patience is not None and data.n_valid_rows < 1:
        yield say.early_stopping_needs_rows()
    longest = data.longest_row or 0
    # Learned positions are a table: a row beyond its end cannot be computed at all.
    if config.rope is None and longest > config.max_positions:
        yield say.rows_beyond_positions(longest, config.max_positions)


def _data_notes(contract: FinetuneContract, config: ModelConfig, data: DataFacts) -> Iterator[str]:
    if data.longest_row is None:
        if contract.seq_len > config.max_positions:
            yield say.note_seq_len_beyond_positions(contract.seq_len, config.max_positions)
    elif data.longest_row > config.max_positions:
        yield say.note_seq_len_beyond_positions(data.longest_row, config.max_positions)
    if data.n_valid_rows == 0:
        yield say.note_nothing_held_out()
        if contract.eval_every is not None:
            yield say.note_no_effect("--eval-every", "no rows are held out")
    if data.has_valid_file and contract.validation_split_ratio != _DEFAULT_SPLIT_RATIO:
        yield say.note_no_effect("--validation-split-ratio", "the data folder has a valid.jsonl")


def _memory_notes(memory: MemoryEstimate, available: int | None) -> Iterator[str]:
    if available is not None and memory.total > available:
        yield say.note_memory_short(memory.total, available)


_DEFAULT_SPLIT_RATIO = next(
    f.default for f in fields(FinetuneContract) if f.name == "validation_split_ratio"
)
