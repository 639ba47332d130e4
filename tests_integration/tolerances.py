"""How close is close enough: every number a parity test may use, each with its reason.

A test names a row and never writes a number. A row may be loosened only together with its
reason; a new kind of comparison gets a row of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Tolerance:
    """One row of the table: `|actual - expected| <= atol + rtol * |expected|`."""

    rtol: float
    atol: float
    why: str


EXACT = Tolerance(0.0, 0.0, "the same arithmetic in the same order, or no arithmetic at all")

F32_ELEMENTWISE = Tolerance(1e-6, 1e-6, "a few f32 roundings per value, no long sum")
F32_LINEAR = Tolerance(1e-5, 1e-5, "one f32 dot product of length <= 1024 against float64")
F32_LOGITS = Tolerance(
    1e-5,
    2e-5,
    "f32 logits of size 1 to 5 behind some twenty matrix products; 9e-6 was seen, and 1.5e-5 with "
    "the last bit of every operation moved at random, as other processors move it",
)
F32_LOSS = Tolerance(1e-5, 1e-6, "a mean of f32 cross entropies of size 1 to 10")
F32_LOSS_SUM = Tolerance(1e-5, 1e-4, "a sum of some hundred f32 cross entropies, other order")
F32_GRAD = Tolerance(
    1e-4,
    4e-5,
    "f32 gradients of a tiny model, of size 1 to 15: sums over all tokens that partly cancel; "
    "2.3e-5 was seen, and 2.9e-5 with the last bit of every operation moved at random",
)
F32_RECURRENT_GRAD = Tolerance(
    0.0,
    1e-3,
    "gradients as parts of the largest, through a recurrence that transformers computes in chunks:"
    " 4e-4 from float64 was seen there, 3e-4 here",
)
F32_MERGED = Tolerance(1e-5, 5e-5, "W x + s B(A x) against (W + s B A) x, each rounded in f32")
F32_MERGED_WEIGHT = Tolerance(
    0.0, 1e-6, "issue 3: W + s B A against PEFT's merge_and_unload, both summed in f32"
)
F32_ACCUMULATED = Tolerance(
    1e-4, 1e-5, "one optimizer step summed in another order of micro batches"
)
F32_TRAINED = Tolerance(
    1e-4, 1e-4, "losses after some optimizer steps: Adam magnifies the last bits of a gradient"
)
F64_GRAD = Tolerance(1e-3, 1e-6, "central differences in float64, as torch.autograd.gradcheck")

BF16_LOGITS = Tolerance(
    5e-2, 2e-1, "2^-9 per operation adds up; transformers in bf16 is 0.1 to 0.25 off its own f32"
)
BF16_TRAINED = Tolerance(
    1e-2, 1e-2, "losses and norms of four bf16 steps in two orders of sums; 4e-3 was seen"
)
BF16_MERGED = Tolerance(
    5e-2,
    1e-1,
    "f32 logits behind weights that were rounded to bf16 after the merge, against W + BA",
)
BF16_WEIGHT = Tolerance(2**-8, 1e-6, "one value rounded to bf16: half a unit of 8 bits")
F16_WEIGHT = Tolerance(2**-11, 1e-7, "one value rounded to f16: half a unit of 11 bits")

NF4_MEAN_ERROR = Tolerance(
    0.0, 7 * 7.4e-5, "7 sigma of bitsandbytes' 200 samples of the mean absolute error at block 64"
)
NF4_MEAN_RELATIVE_ERROR = Tolerance(
    0.0, 7 * 3.4e-4, "7 sigma of bitsandbytes' 200 samples of the mean relative error at block 64"
)
NF4_PUBLISHED_DIGITS = Tolerance(
    0.0, 3e-4, "published with three or four digits for the block sizes other than 64"
)
NF4_NESTED_ERROR = Tolerance(
    0.0, 0.11, "bitsandbytes' own bound on the mean absolute error with double quantisation"
)
NF4_NESTED_RELATIVE_ERROR = Tolerance(
    0.0, 0.28, "bitsandbytes' own bound on the mean relative error with double quantisation"
)
NF4_BLOCK_ERROR = Tolerance(
    0.0, 0.152, "half of the widest gap between levels, of -1 and -0.6962, per unit of magnitude"
)

SOURCE_F32 = Tolerance(0.0, 1e-5, "the source system's own bound for an f32 product, sums below 2")
SOURCE_F32_LINEAR = Tolerance(
    20 * 2**-24,
    0.0,
    "two sums of nine positive f32 terms, each in any order; the source system's own 1e-5 is one "
    "and a half last places of its sums of 64, so the order of one processor decided",
)
SOURCE_CE = Tolerance(0.0, 5e-5, "the source system's own bound for a scalar cross entropy")
BENCH_LOSS = Tolerance(0.0, 1e-4, "f32 losses beside PEFT after five steps of AdamW")
F64_FORMULA = Tolerance(1e-9, 1e-12, "a float64 formula of few operations, such as a schedule")


def assert_parity(actual: Tensor, expected: Tensor, row: Tolerance) -> None:
    """Compare at a named tolerance and name the reason when it fails."""
    torch.testing.assert_close(
        actual, expected, rtol=row.rtol, atol=row.atol, msg=lambda m: f"{m}\nTolerance: {row.why}"
    )


def assert_close_number(actual: float, expected: float, row: Tolerance) -> None:
    """Compare two numbers at a named tolerance."""
    bound = row.atol + row.rtol * abs(expected)
    report = f"{actual!r} is not {expected!r} within {bound:g}\nTolerance: {row.why}"
    assert math.isfinite(actual), report
    assert abs(actual - expected) <= bound, report


def differs(one: Tensor, other: Tensor, row: Tolerance) -> bool:
    """Whether two tensors differ by more than a row explains: something really changed."""
    return bool(((one - other).abs() > row.atol + row.rtol * other.abs()).any())
