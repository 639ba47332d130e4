"""Peak memory of this process: the resident set, or the device's allocator peak."""

from __future__ import annotations

import sys

import torch

if sys.platform != "win32":
    import resource


def peak_memory_bytes(device: torch.device) -> int:
    """Peak bytes on CUDA if training ran there, otherwise peak resident bytes; 0 if unknown."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB
