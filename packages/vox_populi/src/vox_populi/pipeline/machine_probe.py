"""Detecting what the machine can compute with. Imports torch only if there may be a GPU."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from vox_populi import extras
from vox_populi.contract.choices import ComputeDtype, DeviceKind
from vox_populi.contract.setting_groups import SharingSettings
from vox_populi.errors import ContractError, first_line
from vox_populi.pipeline.rank_place import RankPlace
from vox_populi.plan.device_choice import MachineFacts, thread_problems

_GPU_TRACES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
"""Device files of NVIDIA's driver, of GPUs under WSL, and of AMD's compute driver. A Jetson has
none of them: pass `--device cuda` there."""
_CGROUP_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def probe_machine(
    wanted: DeviceKind = DeviceKind.BEST, dtype: ComputeDtype = ComputeDtype.AUTO
) -> MachineFacts:
    """Detect processors, memory and GPUs; takes milliseconds without a GPU.

    Args:
        wanted: For a GPU requested by name, torch is queried regardless of driver files. Metal
            is tried only for `best`.
        dtype: Number type of the trial.
    """
    host = MachineFacts(n_cpus=count_cpus(), memory_bytes=_host_memory())
    if wanted is DeviceKind.CPU:
        return host
    has_torch = extras.is_installed("torch")
    is_named = wanted is not DeviceKind.BEST
    if not _may_have_gpu() and not (is_named and has_torch):
        return replace(host, has_cuda=False, has_mps=False)
    if not has_torch:
        return host
    torch = extras.load("torch")
    if torch.cuda.is_available():
        has_mps = bool(torch.backends.mps.is_available())
        return replace(_with_cuda(host, torch), has_mps=has_mps)
    return _with_metal(replace(host, has_cuda=False), torch, wanted, dtype)


def with_ranks(
    machine: MachineFacts, sharing: SharingSettings, place: RankPlace, *, is_run: bool = True
) -> MachineFacts:
    """The machine as one of several processes has it, with the memory that the request allows.

    Args:
        machine: What was detected.
        sharing: The request.
        place: The processes.
        is_run: Whether something will be computed here; a plan with a memory is for another
            machine, whose devices are not known.
    """
    found = replace(machine, n_ranks=place.size, local_ranks=place.local_size)
    if sharing.device_memory is None:
        return found
    memory = round(sharing.device_memory * 2**30)
    found = replace(
        found,
        memory_bytes=memory * place.local_size,
        device_memory_bytes=memory,
        metal_memory_bytes=memory,
    )
    return found if is_run else replace(found, has_cuda=found.has_cuda or None)


def metal_failure(dtype: ComputeDtype = ComputeDtype.AUTO) -> str | None:
    """Why `best` skips Metal; `None` if a training step gives the CPU's numbers."""
    trial = extras.load("vox_populi.pipeline.device_trial")
    failure: str | None = trial.step_failure(
        "mps", "bfloat16" if dtype is ComputeDtype.BF16 else "float32"
    )
    return failure


def _with_cuda(host: MachineFacts, torch: ModuleType) -> MachineFacts:
    """Facts with the free CUDA memory, which excludes other programs and the new context."""
    has_bf16 = bool(torch.cuda.is_bf16_supported(including_emulation=False))
    facts = replace(host, has_cuda=True, has_bf16=has_bf16)
    try:
        free, _ = torch.cuda.mem_get_info(torch.cuda.current_device())
    except RuntimeError as error:
        # A device that another process has to itself, or that is full.
        return replace(facts, cuda_failure=first_line(error))
    return replace(facts, device_memory_bytes=int(free))


def _with_metal(
    host: MachineFacts, torch: ModuleType, wanted: DeviceKind, dtype: ComputeDtype
) -> MachineFacts:
    if not torch.backends.mps.is_available():
        return replace(host, has_mps=False)
    return replace(
        host,
        has_mps=True,
        metal_memory_bytes=int(torch.mps.recommended_max_memory()),
        metal_failure=metal_failure(dtype) if wanted is DeviceKind.BEST else None,
    )


def _may_have_gpu() -> bool:
    """Whether torch, which takes a second to import, could find a GPU."""
    if sys.platform != "linux":
        return True
    return any(Path(trace).exists() for trace in _GPU_TRACES)


def count_cpus() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def require_threads(threads: int | None) -> None:
    """Refuse more threads than cores, before any is started.

    Raises:
        ContractError: With both numbers.
    """
    beyond = tuple(thread_problems(threads, count_cpus()))
    if beyond:
        raise ContractError(*beyond)


def _host_memory() -> int | None:
    """Physical memory, or the container's limit if that is less."""
    known = [limit for path in _CGROUP_LIMITS if (limit := _read_limit(Path(path))) is not None]
    if hasattr(os, "sysconf"):
        with suppress(OSError, ValueError):
            known.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(known, default=None)


def _read_limit(path: Path) -> int | None:
    """A limit in bytes; `None` without one (the file then says `max`)."""
    try:
        text = path.read_text("ascii").strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdecimal() else None
