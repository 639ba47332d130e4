"""Keeping freed memory in the process, or not: large activations come and go at every step.

glibc hands blocks above a moving threshold (at most 32 MiB) back to the kernel, and each new
one costs page faults again. Raising the thresholds made the packed step 1.13 to 1.15 times as
fast (`docs/src/explanation/training-step.md`). With windows of 8,192 tokens the holes between what
is in use take up to 40 % more memory, so a run does it only where there is plenty. Elsewhere every
large block is handed back at once, which leaves no holes.
"""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_ONE_GIB = 1 << 30
_ONE_MIB = 1 << 20


def keep_freed_memory() -> bool:
    """Raise glibc's thresholds for this process; returns whether it did.

    Other C libraries and preloaded allocators are left alone.
    """
    return _set_thresholds(_ONE_GIB, _ONE_GIB)


def return_freed_memory() -> bool:
    """Fix glibc's thresholds at a low value, so that they do not move; returns whether it did."""
    return _set_thresholds(_ONE_MIB, _ONE_MIB)


def trim_freed_memory() -> bool:
    """Hand back what lies between small blocks in use, once; returns whether anything was.

    No threshold does that: tensors of a few hundred KiB come from glibc's heap, and copies of all
    that is trained leave holes of their size.
    """
    trim = getattr(_libc(), "malloc_trim", None)
    return trim is not None and bool(trim(0))


def _set_thresholds(mmap: int, trim: int) -> bool:
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is None:
        return False
    outcomes = [mallopt(_M_MMAP_THRESHOLD, mmap), mallopt(_M_TRIM_THRESHOLD, trim)]
    return all(outcomes)


def _libc() -> ctypes.CDLL | None:
    """This process's C library, if it is glibc."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
