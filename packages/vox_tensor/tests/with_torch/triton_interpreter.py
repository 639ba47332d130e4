"""Run in a process of its own: the Triton kernels on this CPU, against the reference.

Triton decides when it is imported whether kernels are compiled or interpreted, so the process that
runs this has `TRITON_INTERPRET=1` from its start, and no test imports this file. Prints one JSON
object: how many cases were compared, which differ, and how often quantising changed something.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import product

import torch
from torch import Tensor

from vox_tensor.nf4 import BLOCK_SIZES, dequantize_nf4, quantize_nf4
from vox_tensor.nf4_triton import dequantize_nf4_triton

SHAPES = [(1, 1), (7, 33), (5, 129), (2, 4097), (130, 66)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
MANY_GROUPS = (257 * 32 * 2 + 1,)
"""Values of more than two groups of 256 blocks of 32."""


def weights(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Random rows whose magnitudes reach from denormal ones to large ones."""
    drawn = torch.randn(shape, generator=generator)
    scales = torch.logspace(-41, 3, shape[0])[torch.randperm(shape[0], generator=generator)]
    return drawn * scales.view(-1, *(1 for _ in shape[1:]))


def cases() -> Iterator[tuple[str, Tensor, int, bool]]:
    """Every shape, block size and quantisation of the magnitudes, and special values."""
    generator = torch.Generator().manual_seed(3)
    for shape, size, nested in product(SHAPES, BLOCK_SIZES, (True, False)):
        drawn = weights(shape, generator)
        yield f"{shape} in blocks of {size}, nested {nested}", drawn, size, nested
    for nested in (True, False):
        drawn = weights(MANY_GROUPS, generator)
        yield f"many groups, nested {nested}", drawn, 32, nested
        yield f"zeros, nested {nested}", torch.zeros(3, 65), 64, nested


def main() -> None:
    """Compare every case in every dtype; in fresh memory and in a buffer by turns."""
    compared, differing, changed = 0, [], 0
    for name, weight, size, nested in cases():
        quantized = quantize_nf4(weight, block_size=size, double_quant=nested)
        for dtype in DTYPES:
            expected = dequantize_nf4(quantized, dtype)
            place = torch.full(weight.shape, 7.0, dtype=dtype) if compared % 2 else None
            found = dequantize_nf4_triton(quantized, dtype, place)
            compared += 1
            changed += not torch.equal(expected, weight.to(dtype))
            is_placed = place is None or found is place
            if not is_placed or not torch.equal(found, expected):
                differing.append(f"{name}, {dtype}")
    sys.stdout.write(
        json.dumps({"compared": compared, "differing": differing, "changed": changed}) + "\n"
    )


if __name__ == "__main__":
    main()
