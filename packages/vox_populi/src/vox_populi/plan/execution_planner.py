"""Planning a kernel's work from a request, a checkpoint's inventory and the machine.

Pure: no torch, no file access. Whatever a kernel must decide is decided here, so that
`vox mens train --dry-run` prints exactly what a real run executes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from vox_populi.contract.choices import ActivationMemoryChoice, GraphId, Kernel
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import implied_kernel
from vox_populi.contract.setting_groups import (
    BatchSettings,
    EvaluationSettings,
    OptimizationSettings,
)
from vox_populi.data.folder_rows import TRAIN_FILE
from vox_populi.errors import EnvironmentFailure, PlanError
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import AdapterModule
from vox_populi.hf.model_config import ModelConfig
from vox_populi.operator_messages import environment as say_environment
from vox_populi.operator_messages import plan as say_plan
from vox_populi.plan.activation_choice import (
    activation_notes,
    activation_problems,
    choose_activation_memory,
    kept_choices,
)
from vox_populi.plan.base_plan import WorkPlace, division_problems, plan_base
from vox_populi.plan.device_choice import (
    DeviceChoice,
    MachineFacts,
    choose_device,
    device_problems,
    thread_problems,
)
from vox_populi.plan.graph_choice import (
    GraphChoice,
    ProxyPlan,
    is_proxy,
)
from vox_populi.plan.memory_estimate import (
    MemoryEstimate,
    count_parameters,
)
from vox_populi.plan.nf4_plan import (
    QuantPlan,
)
from vox_populi.plan.packing_proof_facts import PackingProof, proof_notes, proof_problems
from vox_populi.plan.prefix_choice import (
    UNSHARED,
    PrefixChoice,
    PrefixSample,
    choose_prefixes,
    common_tokens,
)
from vox_populi.plan.rank_plan import ALONE, RankPlan, plan_ranks, rank_notes
from vox_populi.plan.step_count import count_steps
from vox_tensor.errors import Problem
from vox_tensor.lora_spec import LoraSpec, lora_param_count
from vox_tensor.schedule import LearningRateSchedule

__all__ = [
    "DataFacts",
    "ExecutionPlan",
    "Kernel",
    "MachineFacts",
    "ProxyPlan",
    "QuantPlan",
    "plan_execution",
    "require_memory",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFacts:
    """Counts of the data from preflight."""

    n_train_rows: int
    n_valid_rows: int
    longest_row: int | None = None
    """Tokens of the longest row, after truncation; `None` where rows were not tokenised."""
    tokens: int | None = None
    """Tokens of all rows, including held-out ones."""
    supervised_tokens: int | None = None
    """Number of `tokens` that are learned or evaluated."""
    graded_rows: int = 0
    """Training rows with a difficulty, held-out ones included if they are split off."""
    trajectory_rows: int = 0
    """The same for rows whose labels change their weight."""
    prefixes: PrefixSample | None = None
    """What some training rows begin with alike; `None` where rows were not tokenised."""
    train_file: str = TRAIN_FILE
    """Name of the training rows: of their file, or of the first of several."""
    valid_file: str | None = None
    """The same for held-out rows; `None` if they are split off the training rows."""

    @property
    def tokens_per_row(self) -> float | None:
        """Mean length of all rows; `None` where they were not tokenised."""
        rows = self.n_train_rows + self.n_valid_rows
        return None if self.tokens is None or rows == 0 else self.tokens / rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutionPlan:
    """Everything a kernel needs to know; kernels never look at the request."""

    kernel: Kernel
    graph: GraphId
    objective_note: str
    """Name of the loss in manifests."""
    config: ModelConfig
    model_dir: Path
    adapters: tuple[AdapterModule, ...]
    """Layers that get an adapter, in forward order."""
    lora: LoraSpec
    device: str
    """torch's name: `cpu`, `cuda` or `mps`."""
    compute_dtype: str
    """Dtype of frozen weights and activations: `float32` or `bfloat16`."""
    threads: int | None
    batching: BatchSettings
    epochs: int
    steps_per_epoch: int
    total_steps: int
    schedule: LearningRateSchedule
    optimization: OptimizationSettings
    evaluation: EvaluationSettings
    seed: int
    data: DataFacts
    memory: MemoryEstimate
    memory_available: int | None
    """Memory of the chosen device, in bytes; `None` if unknown."""
    notes: tuple[str, ...]
    """Settings that were adapted or have no effect, and other things worth knowing."""
    quant: QuantPlan | None = None
    """How the base is stored in 4 bits; `None` if it is not."""
    proxy: ProxyPlan | None = None
    """The middle of a proxy graph; `None` in the full graph."""
    proof: PackingProof | None = None
    """What was measured of the class of transformers that computes the graph, if one does."""
    ce_last_k: int | None = None
    """Only so many supervised tokens at the end of a row are learned; `None`: all of them. The
    rows are labelled accordingly already."""
    curriculum: bool = False
    """Whether easy rows come first in each epoch."""
    prefixes: PrefixChoice = UNSHARED
    """Whether tokens that rows begin with alike are computed once."""
    activation_memory: ActivationMemoryChoice = ActivationMemoryChoice.NONE
    """What the blocks keep for the backward pass; not `auto`."""
    ranks: RankPlan = ALONE
    """The processes that share the run."""

    @property
    def candle_compat_mode(self) -> bool:
        """Field required by the source system's readers: true for its QLoRA kernel."""
        return self.kernel is Kernel.CANDLE_QLORA

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
    chosen: GraphChoice,
    data: DataFacts,
    machine: MachineFacts,
) -> ExecutionPlan:
    """Decide kernel, device, dtype, window and steps of a graph that was chosen.

    A plan for more memory than the machine has is still a plan, and a note says so: plans are
    made for other machines too. `require_memory` is what stops a run.

    Raises:
        PlanError: With everything that the base model or the data cannot meet.
        EnvironmentFailure: When the only problem is a missing device.
    """
    config = inventory.config
    _refuse(contract, config, chosen, data, machine)
    device = choose_device(contract.compute, machine)
    steps = count_steps(contract, data.n_train_rows)
    longest = data.longest_row or contract.batching.seq_len
    prefixes = choose_prefixes(contract, config, device.device, longest)
    rows_per_step = contract.batching.rows_per_step
    common = common_tokens(prefixes, data.prefixes, rows_per_step, longest)
    place = WorkPlace(device, _window(contract, chosen, data, common), machine.n_ranks, row=longest)
    bases = {
        each: plan_base(contract, inventory, chosen, place._replace(kept=each))
        for each in kept_choices(chosen)
    }
    asked, estimated = contract.memory.activation_memory, {k: b.memory for k, b in bases.items()}
    kept = choose_activation_memory(asked, estimated, device, machine.memory_bytes)
    base = bases[kept]
    ranks, memory = plan_ranks(machine.n_ranks, is_divided=base.is_divided), base.memory
    notes = (
        *steps.notes,
        *device.notes,
        *rank_notes(ranks, contract.batching, data.tokens_per_row),
        *chosen.notes,
        *(() if chosen.proof is None else proof_notes(chosen.proof)),
        *base.notes,
        *activation_notes(asked, kept, estimated, device),
        *_data_notes(contract, config, data),
        *_memory_notes(memory, device),
    )
    return ExecutionPlan(
        kernel=implied_kernel(contract.backend, contract.base_quant),
        graph=chosen.graph,
        objective_note=chosen.objective_note,
        config=config,
        model_dir=inventory.model_dir,
        adapters=chosen.adapters,
        lora=contract.lora,
        device=device.device,
        compute_dtype=device.compute_dtype,
        threads=contract.compute.threads,
        batching=contract.batching,
        epochs=steps.epochs,
        steps_per_epoch=steps.per_epoch,
        total_steps=steps.total,
        schedule=contract.lr_schedule.over(steps.total, steps.warmup),
        optimization=contract.optimization,
        evaluation=contract.evaluation,
        seed=contract.seed,
        data=data,
        memory=memory,
        memory_available=device.memory_bytes,
        notes=notes,
        quant=base.quant,
        proxy=chosen.proxy,
        proof=chosen.proof,
        ce_last_k=contract.ce_last_k,
        curriculum=contract.curriculum,
        prefixes=prefixes,
        activation_memory=kept,
        ranks=ranks,
    )


def require_memory(plan: ExecutionPlan) -> None:
    """Stop a run that cannot fit, before any weight is read.

    Raises:
        EnvironmentFailure: When the estimate exceeds the device's memory.
    """
    if plan.fits is False and plan.memory_available is not None:
        raise EnvironmentFailure(
            say_environment.memory_too_small(plan.device, plan.memory.total, plan.memory_available)
        )


def _window(contract: FinetuneContract, chosen: GraphChoice, data: DataFacts, common: int) -> int:
    """Most tokens of a window that are computed: all of its rows', or what a proxy learns.

    Args:
        contract: The request.
        chosen: The graph.
        data: Counts of the rows.
        common: Tokens that all rows begin with and that are computed once.
    """
    batching = contract.batching
    # A window is never fuller than all rows of a step.
    longest = data.longest_row or batching.seq_len
    most = common + batching.rows_per_step * (longest - common)
    if chosen.proxy is not None and contract.ce_last_k is not None:
        most = min(most, batching.rows_per_step * contract.ce_last_k)
    return min(batching.window_tokens, most)


def _refuse(
    contract: FinetuneContract,
    config: ModelConfig,
    chosen: GraphChoice,
    data: DataFacts,
    machine: MachineFacts,
) -> None:
    refused = (
        *chosen.problems,
        *activation_problems(contract, chosen),
        *(() if chosen.proof is None else proof_problems(chosen.proof)),
        *division_problems(contract, chosen, machine.n_ranks),
        *_data_problems(contract, config, data),
        *thread_problems(contract.compute.threads, machine.n_cpus),
    )
    absent = tuple(device_problems(contract.compute.device, machine))
    if refused:
        raise PlanError(*refused, *absent)
    if absent:
        raise EnvironmentFailure(*absent)


def _data_problems(
    contract: FinetuneContract, config: ModelConfig, data: DataFacts
) -> Iterator[Problem]:
    if data.n_train_rows < 1:
        yield say_plan.NO_ROWS_TO_TRAIN_ON
    if contract.evaluation.early_stopping_patience is not None and data.n_valid_rows < 1:
        yield say_plan.EARLY_STOPPING_NEEDS_ROWS
    longest = data.longest_row or 0
    # Learned positions are a table: a row beyond its end cannot be computed at all.
    limit = config.position_limit
    if limit is not None and longest > limit and not is_proxy(contract):
        yield say_plan.rows_beyond_positions(longest, limit)


def _data_notes(contract: FinetuneContract, config: ModelConfig, data: DataFacts) -> Iterator[str]:
    if is_proxy(contract):
        pass  # It has no positions.
    elif data.longest_row is None:
        if contract.batching.seq_len > config.max_positions:
            yield say_plan.note_seq_len_beyond_positions(
                contract.batching.seq_len, config.max_positions
            )
    elif data.longest_row > config.max_positions:
        yield say_plan.note_seq_len_beyond_positions(data.longest_row, config.max_positions)
    if data.n_valid_rows == 0:
        yield say_plan.NOTE_NOTHING_HELD_OUT
        if contract.evaluation.eval_every is not None:
            yield say_plan.note_no_effect("--eval-every", "no rows are held out")
    if data.valid_file and contract.validation_split_ratio != _DEFAULT_SPLIT_RATIO:
        reason = f"the data folder has a {data.valid_file}"
        yield say_plan.note_no_effect("--validation-split-ratio", reason)


def _memory_notes(memory: MemoryEstimate, device: DeviceChoice) -> Iterator[str]:
    available = device.memory_bytes
    if available is not None and memory.total > available:
        yield say_environment.note_memory_short(device.device, memory.total, available)


_DEFAULT_SPLIT_RATIO = next(
    f.default for f in fields(FinetuneContract) if f.name == "validation_split_ratio"
)
