"""Building a plan's kernel and the engine's settings. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from vox_populi.containers.torch_dtypes import TORCH_DTYPES
from vox_populi.errors import EnvironmentFailure, first_line
from vox_populi.hf.model_config import ModelConfig
from vox_populi.kernel.attention_backend import attention_notes
from vox_populi.kernel.builders import build_objective
from vox_populi.kernel.nf4_backend import choose_nf4_backend
from vox_populi.kernel.pointwise_backend import pointwise_notes
from vox_populi.model.allocator import keep_freed_memory, return_freed_memory
from vox_populi.operator_messages import environment as say
from vox_populi.pipeline.train import PlannedRun
from vox_populi.plan.activation_choice import has_memory_to_spare
from vox_populi.plan.execution_planner import ExecutionPlan
from vox_populi.quantize.nf4_cache import cached_base
from vox_populi.train.memory_peak import peak_memory_bytes
from vox_populi.train.objective import Objective
from vox_populi.train.optimizers.optimizer import Optimizer
from vox_populi.train.optimizers.registry import build_optimizer
from vox_populi.train.outcome import EngineSettings


@dataclass(frozen=True, slots=True)
class LoadedObjective:
    """The kernel of a plan, ready for its first step."""

    objective: Objective
    notes: tuple[str, ...] = ()
    """Notes for the operator on how it was loaded."""


def load_objective(planned: PlannedRun, base_digest: str) -> LoadedObjective:
    """Read the base, or its quantised form in a cache, and attach fresh adapters.

    Raises:
        ModelError: For a base that cannot be read.
        EnvironmentFailure: When a cache folder cannot be written.
    """
    plan, inventory = planned.plan, planned.preflight.inventory
    # Of a divided base, a part comes and goes with every block: the holes would be most of it.
    is_divided = plan.ranks.is_divided
    if not is_divided and has_memory_to_spare(
        plan.memory.total, plan.memory_available, plan.device
    ):
        keep_freed_memory()
    else:
        return_freed_memory()
    quant, dtype = plan.quant, TORCH_DTYPES[plan.compute_dtype]
    # The proxy graph has no attention.
    is_full = plan.proxy is None
    spoken = _kernel_notes(plan.device, dtype, inventory.config) if is_full else ()
    if quant is None:
        return LoadedObjective(build_objective(plan, inventory), spoken)
    notes = choose_nf4_backend(plan.device, dtype, quant.settings.block_size).notes
    cached = cached_base(inventory, quant.settings, quant.cache_dir, base_digest)
    return LoadedObjective(
        build_objective(plan, cached.inventory), (*spoken, *notes, *cached.notes)
    )


def _kernel_notes(device: str, dtype: torch.dtype, config: ModelConfig) -> tuple[str, ...]:
    """What a GPU computes more slowly than it could."""
    kind = (device, dtype, config)
    return (*attention_notes(*kind), *pointwise_notes(*kind))


def engine_settings(planned: PlannedRun, *, only_one_step: bool = False) -> EngineSettings:
    """What the engine needs to know of a plan, or of its first step alone."""
    plan, is_ordered = planned.plan, planned.plan.curriculum and not only_one_step
    return EngineSettings(
        rows_per_step=plan.batching.rows_per_step,
        window_tokens=plan.batching.window_tokens,
        steps_per_epoch=1 if only_one_step else plan.steps_per_epoch,
        total_steps=1 if only_one_step else plan.total_steps,
        schedule=plan.schedule,
        seed=plan.seed,
        optimization=plan.optimization,
        evaluation=plan.evaluation,
        micro_batches=plan.batching.micro_batches,
        difficulties=planned.preflight.train.difficulties if is_ordered else None,
    )


def plan_optimizer(plan: ExecutionPlan, objective: Objective) -> Optimizer:
    """The optimizer that a plan names, at its start."""
    return build_optimizer(plan.optimization, objective.parameters())


@contextmanager
def on_device(device: str, threads: int | None) -> Iterator[None]:
    """Set the CPU threads, and turn failures of memory and device into operator problems.

    Raises:
        EnvironmentFailure: When memory runs out or the device fails.
    """
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _memory_exhausted(device) from error
    except RuntimeError as error:
        if _is_host_out_of_memory(error):
            raise _memory_exhausted(device) from error
        if isinstance(error, torch.AcceleratorError):
            raise EnvironmentFailure(say.device_failed(device, first_line(error))) from error
        raise
    finally:
        torch.set_num_threads(before)


def _memory_exhausted(device: str) -> EnvironmentFailure:
    peak = peak_memory_bytes(torch.device(device))
    return EnvironmentFailure(say.device_memory_exhausted(device, peak))


def _is_host_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error is a failed host allocation, which torch identifies only by this text."""
    text = str(error)
    return "DefaultCPUAllocator" in text and "memory" in text
