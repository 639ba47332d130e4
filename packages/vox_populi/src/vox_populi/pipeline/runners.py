"""Loading modules that need torch, after all checks that do not."""

from __future__ import annotations

import mmap
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from vox_populi import extras
from vox_populi.errors import EnvironmentFailure
from vox_populi.operator_messages import environment as say
from vox_populi.pipeline.early_refusals import refuse_all

if sys.platform != "win32":  # Windows has no such limits.
    import resource

NEEDED_TO_RUN = ("torch", "tokenizers")
"""Modules of the extra `mens-gpu`, required before anything is read."""

_ADDRESS_SPACE = 768 * 2**20
"""Bytes that importing torch and numpy maps, with room for the smallest run."""


def load_runner(name: str, *checks: Callable[[], object]) -> ModuleType:
    """Load a module that needs torch, after all checks that do not; they are `early_refusals`."""
    extras.require(*NEEDED_TO_RUN)
    refuse_all(*checks)
    _require_address_space()
    return extras.load(f"vox_populi.pipeline.{name}")


def _require_address_space() -> None:
    """Refuse where `ulimit -v` leaves too little: OpenBLAS or libstdc++ would end the process.

    Raises:
        EnvironmentFailure: When torch is not loaded yet and cannot be.
    """
    if sys.platform == "win32" or "torch" in sys.modules:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit - _mapped_bytes() < _ADDRESS_SPACE:
        raise EnvironmentFailure(say.MEMORY_EXHAUSTED)


def _mapped_bytes() -> int:
    """Address space in use; 0 if the system does not report it."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    except OSError:
        return 0
    return int(pages) * mmap.PAGESIZE
