"""What the machine has to compute with. Imports torch only where a GPU may be, by name."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from vox_populi import extras
from vox_populi.errors import ContractError
from vox_populi.plan.device_choice import MachineFacts, thread_problems

_GPU_TRACES = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd")
"""Device files of NVIDIA's driver, of GPUs under WSL, and of AMD's compute driver."""
_CGROUP_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)


def probe_machine() -> MachineFacts:
    """Look at processors, memory and GPUs; takes milliseconds where there is no GPU."""
    memory = _host_memory()
    if not _may_have_gpu():
        return MachineFacts(n_cpus=count_cpus(), memory_bytes=memory, has_cuda=False, has_mps=False)
    if not extras.is_installed("torch"):
        return MachineFacts(n_cpus=count_cpus(), memory_bytes=memory)
    torch = extras.load("torch")
    has_cuda = bool(torch.cuda.is_available())
    device_memory = torch.cuda.get_device_properties(0).total_memory if has_cuda else None
    return MachineFacts(
        n_cpus=count_cpus(),
        memory_bytes=memory,
        has_cuda=has_cuda,
        has_mps=bool(torch.backends.mps.is_available()),
        device_memory_bytes=device_memory,
        has_bf16=bool(torch.cuda.is_bf16_supported()) if has_cuda else None,
    )


def _may_have_gpu() -> bool:
    """Whether asking torch, which takes a second to import, could find one."""
    if sys.platform != "linux":
        return True
    return any(Path(trace).exists() for trace in _GPU_TRACES)


def count_cpus() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def require_threads(threads: int | None) -> None:
    """Refuse more threads than there are cores, before any is started.

    Raises:
        ContractError: With both numbers.
    """
    beyond = tuple(thread_problems(threads, count_cpus()))
    if beyond:
        raise ContractError(*beyond)


def _host_memory() -> int | None:
    """Physical memory, or the container's limit where that is less."""
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
