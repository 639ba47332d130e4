"""How NF4 is made and read on a device: by our Triton kernel on CUDA, by torch elsewhere.

Either way the numbers are those of `vox_tensor.nf4` on the CPU, bit for bit. Before a GPU is
trusted, it converts a small weight both ways and the results are compared. If they differ, or
Triton is missing, torch or the CPU does the work and a note says so (decision 0034).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from vox_populi import extras
from vox_populi.errors import first_line
from vox_populi.operator_messages import quantize as say
from vox_tensor.nf4 import Nf4Tensor, dequantize_nf4, quantize_nf4
from vox_tensor.nf4_levels import BLOCK_SIZE, GROUP_SIZE, NF4_LEVELS
from vox_tensor.nf4_weight import Dequantizer

_BROKEN = (RuntimeError, OSError, AttributeError, ImportError, ValueError, TypeError)
"""Errors of a Triton of another version, without its compiler, or for a GPU it does not know
(its own errors are `RuntimeError`s)."""


class Nf4Backend(NamedTuple):
    """What makes weights dense, and where they are quantised."""

    dequantize: Dequantizer
    quantize_on: str = "cpu"
    """torch's name of the device that quantises."""
    notes: tuple[str, ...] = ()
    """Why something is slower than the device could do it."""


@cache
def choose_nf4_backend(
    device: str, dtype: torch.dtype = torch.float32, block_size: int = BLOCK_SIZE
) -> Nf4Backend:
    """The fastest backend for a device that gives the reference's numbers.

    Args:
        device: torch's name.
        dtype: Dtype of the dense copies.
        block_size: Block size of the quantised weights.
    """
    if not _has_kernels(device):
        return Nf4Backend(dequantize_nf4)
    trial = _trial(block_size)
    dequantize, dense_notes = _dequantizer(device, dtype, trial)
    quantize_on, codes_notes = _quantizing_device(device, trial)
    return Nf4Backend(dequantize, quantize_on, (*dense_notes, *codes_notes))


def _has_kernels(device: str) -> bool:
    """Whether Triton serves this device."""
    return torch.device(device).type == "cuda"


class _Trial(NamedTuple):
    """A weight with everything that rounds differently somewhere, and its NF4 on the CPU."""

    weight: Tensor
    block_size: int
    quantized: tuple[Nf4Tensor, Nf4Tensor]
    """Double-quantised and not."""


def _trial(block_size: int) -> _Trial:
    """More than one group of blocks, magnitudes down to denormal ones, ties, zeros, a short end."""
    blocks = torch.linspace(-3, 3, (GROUP_SIZE + 2) * block_size).sin().view(-1, block_size)
    blocks *= torch.logspace(-42, 4, blocks.shape[0]).unsqueeze(1)
    levels = torch.tensor((*NF4_LEVELS, 1.0))
    blocks[1] = 0.0
    # The middle of every two levels, in a block whose magnitude is 1.
    blocks[2, :17] = (levels[1:] + levels[:-1]).div(2)[:16].repeat(2)[:17]
    blocks[2, 17:] = 1.0
    weight = torch.cat((blocks.view(-1), torch.tensor([0.5, -0.25, 0.125])))
    double = quantize_nf4(weight, block_size=block_size)
    single = quantize_nf4(weight, block_size=block_size, double_quant=False)
    return _Trial(weight, block_size, (double, single))


def _dequantizer(
    device: str, dtype: torch.dtype, trial: _Trial
) -> tuple[Dequantizer, tuple[str, ...]]:
    if not extras.is_installed("triton"):
        return dequantize_nf4, (say.note_nf4_by_torch("it is not installed"),)
    try:
        dequantize = triton_dequantizer()
        agrees = _dense_alike(dequantize, device, dtype, trial)
    except _BROKEN as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        return dequantize_nf4, (say.note_nf4_by_torch(reason),)
    if not agrees:
        return dequantize_nf4, (say.note_nf4_by_torch("its numbers differ"),)
    return dequantize, ()


def triton_dequantizer() -> Dequantizer:
    """`dequantize_nf4` as one kernel for a GPU; Triton must be installed."""
    found: Dequantizer = extras.load("vox_tensor.nf4_triton").dequantize_nf4_triton
    return found


def _dense_alike(dequantize: Dequantizer, device: str, dtype: torch.dtype, trial: _Trial) -> bool:
    """Whether it gives the reference's numbers, in fresh memory and in a given buffer."""
    for quantized in trial.quantized:
        expected = dequantize_nf4(quantized, dtype)
        there = quantized.to(device)
        place = torch.zeros(expected.shape, dtype=dtype, device=device)
        fresh = dequantize(there, dtype, None)
        dequantize(there, dtype, place)
        if not (torch.equal(fresh.cpu(), expected) and torch.equal(place.cpu(), expected)):
            return False
    return True


def _quantizing_device(device: str, trial: _Trial) -> tuple[str, tuple[str, ...]]:
    """The device itself if its bytes are those of the CPU."""
    there = trial.weight.to(device)
    for expected in trial.quantized:
        found = quantize_nf4(
            there, block_size=trial.block_size, double_quant=expected.double_quant
        ).to("cpu")
        pairs = zip(found.tensors(), expected.tensors(), strict=True)
        if not all(torch.equal(*pair) for pair in pairs):
            return "cpu", (say.NOTE_NF4_ON_CPU,)
    return device, ()
