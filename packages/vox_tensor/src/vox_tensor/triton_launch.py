"""How our Triton kernels are launched: on which device, how much of the data a program takes."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

VALUES_OF_PROGRAM = 4096
"""16 values for each of the 256 threads of a program."""


def current(device: torch.device) -> AbstractContextManager[object]:
    """Triton launches on the current CUDA device, whatever device the tensors are on."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def rows_together(columns: int) -> int:
    """Rows of a program whose rows have this many values; a power of two as they are."""
    return max(1, VALUES_OF_PROGRAM // columns)


def n_warps(rows: int, columns: int) -> int:
    """Warps of a program: 16 values for a thread, and at most 16 warps."""
    return max(1, min(16, rows * columns // (16 * 32)))
