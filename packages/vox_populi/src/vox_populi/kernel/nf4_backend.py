"""Choice of the NF4 dequantiser for a device; the only module that imports bitsandbytes.

With any choice, the numbers equal those of `vox_tensor.nf4.dequantize_nf4`, bit for bit. On a CPU
without AVX-512, bitsandbytes is 3.5 times slower where it matters (4096 x 4096); with AVX-512 it
would save 3 to 4 % of a step but take seconds to import. So torch is used on every CPU.
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
from vox_tensor.nf4_levels import BLOCK_SIZE
from vox_tensor.nf4_weight import Dequantizer

_PEER = "bitsandbytes"
_BROKEN = (RuntimeError, OSError, AttributeError, ImportError, ValueError, TypeError)
"""Errors of a build that was made for a different CUDA version, lacks its library, or is too old
for a block size (`NotImplementedError` is a `RuntimeError`)."""


class DequantizerChoice(NamedTuple):
    """The dequantiser to use, with a note."""

    dequantize: Dequantizer
    note: str | None = None
    """Why it is not the faster one, if the device has a faster one."""


@cache
def choose_dequantizer(
    device: str, dtype: torch.dtype = torch.float32, block_size: int = BLOCK_SIZE
) -> DequantizerChoice:
    """The faster dequantiser for a device: bitsandbytes on CUDA if it is installed and works.

    Args:
        device: torch's name.
        dtype: Dtype of the dense copies.
        block_size: Block size of the quantised weights.
    """
    if not _serves(device):
        return DequantizerChoice(dequantize_nf4)
    if not extras.is_installed(_PEER):
        return DequantizerChoice(dequantize_nf4, say.note_nf4_by_torch("it is not installed"))
    try:
        peers = bitsandbytes_dequantizer()
        agrees = _agrees(peers, device, dtype, block_size)
    except _BROKEN as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        return DequantizerChoice(dequantize_nf4, say.note_nf4_by_torch(reason))
    if not agrees:
        return DequantizerChoice(dequantize_nf4, say.note_nf4_by_torch("its numbers differ"))
    return DequantizerChoice(peers)


def _serves(device: str) -> bool:
    """Whether bitsandbytes, if it works, is the faster one on this device."""
    return torch.device(device).type == "cuda"


def _agrees(dequantize: Dequantizer, device: str, dtype: torch.dtype, block_size: int) -> bool:
    """Whether it gives the reference's numbers, in fresh memory and in a given buffer."""
    weight = torch.linspace(-3, 3, 5 * block_size).sin().view(5, block_size)
    quantized = quantize_nf4(weight, block_size=block_size)
    expected = dequantize_nf4(quantized, dtype)
    there = quantized.to(device)
    place = torch.zeros(weight.shape, dtype=dtype, device=device)
    fresh = dequantize(there, dtype, None)
    dequantize(there, dtype, place)
    return torch.equal(fresh.cpu(), expected) and torch.equal(place.cpu(), expected)


def bitsandbytes_dequantizer() -> Dequantizer:
    """Dequantiser with bitsandbytes' kernel for the values; our code computes the block magnitudes.

    Raises:
        MissingExtraError: If bitsandbytes is not installed.
    """
    peer = extras.load(f"{_PEER}.functional")

    def dequantize(
        quantized: Nf4Tensor, dtype: torch.dtype = torch.float32, out: Tensor | None = None
    ) -> Tensor:
        # As one row: in 0.50.2 the CPU kernel starts a new block with every row of a matrix.
        state = peer.QuantState(
            absmax=quantized.absmax_B(),
            shape=torch.Size((quantized.n_values,)),
            dtype=dtype,
            blocksize=quantized.block_size,
            quant_type="nf4",
        )
        if out is not None and out.is_cuda:
            # Only the CUDA kernel writes where it is told to.
            peer.dequantize_4bit(quantized.codes, state, out=out.view(-1))
            return out
        dense: Tensor = peer.dequantize_4bit(quantized.codes, state).view(quantized.shape)
        return dense if out is None else out.copy_(dense)

    return dequantize
