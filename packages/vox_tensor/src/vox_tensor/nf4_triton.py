"""Dequantising NF4 on a GPU in one kernel: codes, double-quantised magnitudes and rounding.

The numbers are those of `vox_tensor.nf4.dequantize_nf4`, bit for bit: each magnitude is one product
and one sum, each value one product, and each is rounded once. 8 billion values are 4 GB of codes
and 16 GB of bf16, so the kernel is bound by memory.

Import it only where Triton is installed. Shape letters: B blocks of a program, S values of a block.
"""

from __future__ import annotations

from functools import cache
from math import prod

import torch
import triton
import triton.language as tl
from torch import Tensor

from vox_tensor.nf4 import NestedScales, Nf4Tensor, check_out
from vox_tensor.nf4_levels import GROUP_SIZE, NF4_LEVELS
from vox_tensor.triton_launch import VALUES_OF_PROGRAM, current

_N_WARPS = 8


@triton.jit  # type: ignore[untyped-decorator]  # Triton may be missing where types are checked
def unpack_nf4(  # type: ignore[no-untyped-def]  # Triton finds the types of its arguments
    codes,
    levels,
    absmax,
    scale_codes,
    scale_levels,
    offset,
    out,
    n_values,
    n_bytes,
    n_blocks,
    S: tl.constexpr,
    B: tl.constexpr,
    GROUP: tl.constexpr,
    IS_NESTED: tl.constexpr,
    IS_BF16: tl.constexpr,
):
    """Write the values of B blocks; `out` is float32 or float16, or int16 with bf16's bits."""
    block_B = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    is_there_B = block_B < n_blocks
    if IS_NESTED:
        code_B = tl.load(scale_codes + block_B, mask=is_there_B, other=0).to(tl.int32)
        group_B = tl.load(absmax + block_B // GROUP, mask=is_there_B, other=0.0)
        # Two roundings, as in the reference: the launch forbids a fused multiply-add.
        scale_B = tl.load(scale_levels + code_B) * group_B + tl.load(offset)
    else:
        scale_B = tl.load(absmax + block_B, mask=is_there_B, other=0.0)
    byte_BS = block_B[:, None] * (S // 2) + tl.arange(0, S // 2)[None, :]
    pair_BS = tl.load(codes + byte_BS, mask=byte_BS < n_bytes, other=0).to(tl.int32)
    # The even value is the high nibble.
    even_BS = tl.load(levels + (pair_BS >> 4)) * scale_B[:, None]
    odd_BS = tl.load(levels + (pair_BS & 15)) * scale_B[:, None]
    dense_BS = tl.join(even_BS, odd_BS).reshape(B, S)
    value_BS = block_B[:, None] * S + tl.arange(0, S)[None, :]
    if IS_BF16:
        # To the nearest, ties to even, by hand: Triton's interpreter would cut the bits off.
        bits_BS = dense_BS.to(tl.uint32, bitcast=True)
        bits_BS = (bits_BS + 0x7FFF + ((bits_BS >> 16) & 1)) >> 16
        tl.store(out + value_BS, bits_BS.to(tl.int16), mask=value_BS < n_values)
    else:
        tl.store(out + value_BS, dense_BS.to(out.dtype.element_ty), mask=value_BS < n_values)


def dequantize_nf4_triton(
    quantized: Nf4Tensor, dtype: torch.dtype = torch.float32, out: Tensor | None = None
) -> Tensor:
    """`vox_tensor.nf4.dequantize_nf4` in one launch; a `vox_tensor.nf4_weight.Dequantizer`.

    Args:
        quantized: The codes, on a GPU.
        dtype: float32, bfloat16 or float16.
        out: A contiguous tensor of the result's shape and dtype to write into.

    Raises:
        ValueError: When `out` does not fit.
    """
    device = quantized.codes.device
    if out is None:
        out = torch.empty(quantized.shape, dtype=dtype, device=device)
    check_out(out, quantized, dtype)
    size, n_values = quantized.block_size, prod(quantized.shape)
    n_blocks = -(-n_values // size)
    n_together = VALUES_OF_PROGRAM // size
    is_bf16 = dtype == torch.bfloat16
    flat = out.detach().view(-1)
    with current(device):
        unpack_nf4[(-(-n_blocks // n_together),)](
            quantized.codes,
            _levels(device),
            *_scale_tensors(quantized),
            flat.view(torch.int16) if is_bf16 else flat,
            n_values,
            quantized.codes.numel(),
            n_blocks,
            S=size,
            B=n_together,
            GROUP=GROUP_SIZE,
            IS_NESTED=quantized.double_quant,
            IS_BF16=is_bf16,
            num_warps=_N_WARPS,
            enable_fp_fusion=False,
        )
    return out


def _scale_tensors(quantized: Nf4Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Magnitudes, their codes, levels and mean; the last three are not read without codes."""
    scales = quantized.scales
    if isinstance(scales, NestedScales):
        return scales.absmax_G, scales.codes_B, scales.levels, scales.offset
    return scales, quantized.codes, scales, scales


@cache
def _levels(device: torch.device) -> Tensor:
    return torch.tensor(NF4_LEVELS, device=device)
