"""The cross entropy of rows of logits on a GPU, and its gradient in the place of the logits.

A row is read twice and written once; as torch operations it is read and written six times, mostly
in float32. Sums over a row are added in another order than torch's.

Import it only where Triton is installed. Shape letters: C rows, V vocabulary; B columns at a time.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from vox_tensor.triton_launch import current

_COLUMNS, _N_WARPS = 8192, 16
"""A row for a program of 512 threads: there are few rows, so each needs many loads in flight."""


@triton.jit  # type: ignore[untyped-decorator]  # Triton may be missing where types are checked
def loss_of_row(  # type: ignore[no-untyped-def]  # Triton finds the types of its arguments
    logits,
    targets,
    weights,
    losses,
    stride,
    n_columns,
    HAS_WEIGHTS: tl.constexpr,
    WANTS_GRADIENT: tl.constexpr,
    B: tl.constexpr,
):
    """`weight * -log softmax(row)[target]`; then `weight * (softmax(row) - one_hot(target))`."""
    row = tl.program_id(0).to(tl.int64)
    logits += row * stride
    column_B = tl.arange(0, B)
    target = tl.load(targets + row)
    wanted = tl.load(logits + target).to(tl.float32)
    # A maximum and a sum for each column of the tile, so that the threads exchange theirs once.
    largest_B = tl.full([B], -3.4e38, tl.float32)
    sum_B = tl.zeros([B], tl.float32)
    for start in range(0, n_columns, B):
        place = start + column_B
        value_B = tl.load(logits + place, mask=place < n_columns, other=float("-inf"))
        value_B = value_B.to(tl.float32)
        larger_B = tl.maximum(largest_B, value_B)
        sum_B = sum_B * tl.exp(largest_B - larger_B) + tl.exp(value_B - larger_B)
        largest_B = larger_B
    largest = tl.max(largest_B, 0)
    log_sum = largest + tl.log(tl.sum(sum_B * tl.exp(largest_B - largest), 0))
    loss = log_sum - wanted
    weight = 1.0
    if HAS_WEIGHTS:
        weight = tl.load(weights + row).to(tl.float32)
        loss = loss * weight
    tl.store(losses + row, loss)
    if WANTS_GRADIENT:
        # All threads have read the target's logit before one of them overwrites it.
        tl.debug_barrier()
        for start in range(0, n_columns, B):
            place = start + column_B
            value_B = tl.load(logits + place, mask=place < n_columns, other=float("-inf"))
            g_B = tl.exp(value_B.to(tl.float32) - log_sum)
            g_B = tl.where(place == target, g_B - 1.0, g_B)
            if HAS_WEIGHTS:
                g_B = g_B * weight
            tl.store(logits + place, g_B.to(logits.dtype.element_ty), mask=place < n_columns)


def row_losses(
    logits_CV: Tensor, targets_C: Tensor, weights_C: Tensor | None, *, wants_gradient: bool
) -> Tensor:
    """Weighted losses `[C]` in float32; their gradient overwrites contiguous logits if wanted.

    Args:
        logits_CV: The logits.
        targets_C: The id that each row should predict.
        weights_C: What each loss is multiplied by; `None` for 1.
        wants_gradient: Whether to overwrite the logits.
    """
    n_rows, n_columns = logits_CV.shape
    losses_C = torch.empty(n_rows, dtype=torch.float32, device=logits_CV.device)
    if n_rows:
        with current(logits_CV.device):
            loss_of_row[(n_rows,)](
                logits_CV, targets_C.contiguous(),
                losses_C if weights_C is None else weights_C.contiguous(), losses_C,
                logits_CV.stride(0), n_columns, weights_C is not None, wants_gradient, _COLUMNS,
                num_warps=_N_WARPS, enable_fp_fusion=False,
            )  # fmt: skip
    return losses_C
