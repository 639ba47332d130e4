"""From a plan to a kernel and the engine's settings. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vox_populi import operator_messages as say
from vox_populi.errors import EnvironmentFailure
from vox_populi.kernel.lora_full import LoraFullObjective, build_lora_full
from vox_populi.pipeline.reports import PlannedRun
from vox_populi.plan.execution_planner import ExecutionPlan
from vox_populi.train.allocator import keep_freed_memory
from vox_populi.train.memory_peak import peak_memory_bytes
from vox_populi.train.outcome import EngineSettings


def load_objective(planned: PlannedRun) -> LoraFullObjective:
    """Read the base and attach fresh adapters: the kernel of the plan, ready for its first step."""
    keep_freed_memory()
    return build_lora_full(planned.plan, planned.preflight.inventory)


def engine_settings(plan: ExecutionPlan, *, only_one_step: bool = False) -> EngineSettings:
    """What the engine needs to know of a plan, or of its first step alone."""
    return EngineSettings(
        rows_per_step=plan.rows_per_step,
        window_tokens=plan.window_tokens,
        steps_per_epoch=1 if only_one_step else plan.steps_per_epoch,
        total_steps=1 if only_one_step else plan.total_steps,
        schedule=plan.schedule,
        seed=plan.seed,
        weight_decay=plan.weight_decay,
        max_grad_norm=plan.max_grad_norm,
        eval_every=plan.eval_every,
        early_stopping_patience=plan.early_stopping_patience,
    )


@contextmanager
def on_device(device: str, threads: int | None) -> Iterator[None]:
    """Use so many CPU threads, and turn failures of memory and device into operator problems.

    Raises:
        EnvironmentFailure: When memory is used up or the device fails.
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
            raise EnvironmentFailure(say.device_failed(device, _first_line(error))) from error
        raise
    finally:
        torch.set_num_threads(before)


def _memory_exhausted(device: str) -> EnvironmentFailure:
    peak = peak_memory_bytes(torch.device(device))
    return EnvironmentFailure(say.device_memory_exhausted(device, peak))


def _is_host_out_of_memory(error: RuntimeError) -> bool:
    """A failed allocation on the host has no class of its own in torch, only this text."""
    text = str(error)
    return "DefaultCPUAllocator" in text and "memory" in text


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
