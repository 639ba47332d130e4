"""The tree that gradients are added in: the same additions for every power of two of processes."""

from __future__ import annotations

import pytest
import torch

from vox_populi.train.addition_tree import (
    middle,
    nothing_to_add,
    share_of,
    sum_in_order,
    sum_of_ranks,
)

Formula = str


def added(low: int, high: int) -> Formula:
    """The additions of one process, written out."""
    if high - low == 1:
        return str(low)
    border = middle(low, high)
    return f"({added(low, border)}+{added(border, high)})"


def added_by(leaves: int, size: int) -> Formula:
    """The additions of several processes, those of the exchange included."""

    def ranks(first: int, end: int) -> Formula:
        if end - first == 1:
            own = share_of(leaves, first, size)
            return added(own.start, own.stop) if own else ""
        half = first - (first - end) // 2
        one, other = ranks(first, half), ranks(half, end)
        return f"({one}+{other})" if one and other else one or other

    return ranks(0, size)


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_powers_of_two_add_the_same_pairs(size: int) -> None:
    for leaves in range(1, 40):
        assert added_by(leaves, size) == added(0, leaves)


def test_three_passes_are_added_one_after_the_other() -> None:
    assert added(0, 3) == "((0+1)+2)"
    assert added(0, 4) == "((0+1)+(2+3))"


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 8, 12])
def test_shares_are_contiguous_and_even(size: int) -> None:
    for leaves in range(1, 40):
        shares = [share_of(leaves, rank, size) for rank in range(size)]
        assert [leaf for share in shares for leaf in share] == list(range(leaves))
        assert max(map(len, shares)) <= -(-leaves // size) + (size & (size - 1) != 0)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 8])
def test_what_processes_computed_is_added_pairwise(size: int) -> None:
    generator = torch.Generator().manual_seed(size)
    parts = [torch.randn(9, generator=generator) * 10.0**k for k in range(size)]
    expected = {
        1: lambda p: p[0],
        2: lambda p: p[0] + p[1],
        3: lambda p: (p[0] + p[1]) + p[2],
        4: lambda p: (p[0] + p[1]) + (p[2] + p[3]),
        8: lambda p: ((p[0] + p[1]) + (p[2] + p[3])) + ((p[4] + p[5]) + (p[6] + p[7])),
    }[size](parts)
    assert torch.equal(sum_of_ranks([part.clone() for part in parts]), expected)


def test_nothing_added_keeps_the_sign_of_a_zero() -> None:
    values = torch.tensor([0.0, -0.0, 1.5, float("inf")])
    total = values + nothing_to_add(values)
    assert torch.equal(total, values)
    assert torch.equal(torch.signbit(total), torch.signbit(values))
    assert not torch.equal(torch.signbit(values + torch.zeros(4)), torch.signbit(values))


def test_numbers_are_added_without_compensation() -> None:
    assert sum_in_order([1e16, 1.0, -1e16]) == 0.0
