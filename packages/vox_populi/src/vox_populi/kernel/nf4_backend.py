"""Who makes NF4 weights dense on which device; the one door to bitsandbytes.

Whoever does it, the numbers are those of `vox_tensor.nf4.dequantize_nf4`, bit for bit. On a CPU
without AVX-512 bitsandbytes is 3.5 times slower where it matters (4096 x 4096); with it, it would
save 3 to 4 % of a step, against seconds of importing it: torch serves every CPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vox_populi import extras
from vox_tensor.nf4 import Nf4Tensor, dequantize_nf4, quantize_nf4
from vox_tensor.nf4_levels import BLOCK_SIZE
from vox_tensor.nf4_weight import Dequantizer

_PEER = "bitsandbytes"


def dequantizer_for(device: torch.device | str) -> Dequantizer:
    """The faster one on a device: bitsandbytes on CUDA where it is installed and works there."""
    if torch.device(device).type != "cuda" or not extras.is_installed(_PEER):
        return dequantize_nf4
    peers = bitsandbytes_dequantizer()
    return peers if works_on(device, peers) else dequantize_nf4


def works_on(device: torch.device | str, dequantize: Dequantizer) -> bool:
    """Whether this build of bitsandbytes has kernels for the device's CUDA version."""
    try:
        dequantize(quantize_nf4(torch.zeros(2, BLOCK_SIZE)).to(device), torch.float32, None)
    except RuntimeError:
        return False
    return True


def bitsandbytes_dequantizer() -> Dequantizer:
    """Bitsandbytes' kernel for the values; the block magnitudes are made by us.

    Raises:
        MissingExtraError: Where bitsandbytes is not installed.
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
