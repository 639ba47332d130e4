"""The order in which the parts of a step are added: a binary tree that knows no processes.

Float addition is not associative, so a sum has the same bits only if the same pairs are added. The
tree over the forward passes of a step is a property of the step. Where there are several processes,
they compute whole subtrees of it: with a power of two of them, every pair that is added is the same
as in one process.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def middle(low: int, high: int, ranks: int = 2) -> int:
    """The border that divides a range `[low, high)`: the first part is never the smaller one.

    Args:
        low: First leaf.
        high: One past the last leaf.
        ranks: Processes that share the range, at least 2; the first half of them, rounded up,
            compute the first part.
    """
    first = -(-ranks // 2)
    return low + -(-(high - low) * first // ranks)


def share_of(leaves: int, rank: int, size: int) -> range:
    """The leaves that one of `size` processes computes: a subtree, if `size` is a power of two."""
    low, high = 0, leaves
    while size > 1:
        border, first = middle(low, high, size), -(-size // 2)
        if rank < first:
            high, size = border, first
        else:
            low, rank, size = border, rank - first, size - first
    return range(low, high)


def sum_of_ranks(parts: Sequence[Tensor]) -> Tensor:
    """Add what the processes computed, in the order of the tree.

    Args:
        parts: One tensor of each process, in their order; changed in place.
    """
    if len(parts) == 1:
        return parts[0]
    first = -(-len(parts) // 2)
    return sum_of_ranks(parts[:first]).add_(sum_of_ranks(parts[first:]))


def sum_in_order(numbers: Iterable[float]) -> float:
    """Add one after the other; `sum` compensates for rounding in some versions of Python only."""
    total = 0.0
    for number in numbers:
        total += number
    return total


def nothing_to_add(like: Tensor) -> Tensor:
    """What leaves every number as it is, the sign of a zero included: negative zeros."""
    return torch.full_like(like, -0.0)
