"""Whether a GPU computes pointwise work with our kernels: one pass over the data for each part.

Elsewhere, or where a part's trial fails, torch's own operations do the same arithmetic (decision
0039).
"""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from vox_tensor.fused_parts import MODULE_OF, FusedPart
from vox_tensor.fused_trial import trial_of
from vox_tensor.lazy_exports import imported

_DTYPES = (torch.bfloat16, torch.float16, torch.float32)
_BROKEN = (RuntimeError, OSError, AttributeError, ImportError, ValueError, TypeError)
"""Errors of a Triton that is missing, of another version, without its compiler, or for a GPU it
does not know (its own errors are `RuntimeError`s)."""


def fused(part: FusedPart, x: Tensor) -> Any | None:
    """The module with the kernels of a part, if they are to be used on `x`."""
    if not x.is_cuda:
        return None
    kernels, _ = _tried(part, x.device, x.dtype)
    return kernels


def why_not_fused(part: FusedPart, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why a part is left to torch's operations; `None` if it has a kernel.

    The first call for a kind on CUDA tries the kernel out.
    """
    if device.type != "cuda":
        return "our kernels are made for CUDA"
    _, reason = _tried(part, device, dtype)
    return reason


@cache
def _tried(
    part: FusedPart, device: torch.device, dtype: torch.dtype
) -> tuple[ModuleType | None, str | None]:
    """The kernels of a part, or why they cannot be used."""
    if dtype not in _DTYPES:
        return None, f"our kernels do not know {str(dtype).removeprefix('torch.')}"
    try:
        kernels = imported(f"vox_tensor.{MODULE_OF[part]}")
        differs = trial_of(part, kernels, device, dtype)
    except _BROKEN as error:
        said = str(error).splitlines() or [""]
        return None, f"{type(error).__name__}: {said[0]}"
    if differs:
        return None, "its numbers in a trial differ from the definition"
    return kernels, None
