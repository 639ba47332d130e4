"""What a plan says of several processes."""

from __future__ import annotations

import pytest

from vox_populi.contract.choices import ShardChoice
from vox_populi.contract.setting_groups import BatchSettings
from vox_populi.plan.rank_plan import Equality, is_divided, plan_ranks, rank_notes, rank_values


@pytest.mark.parametrize("size", [1, 2, 4, 8, 64])
def test_powers_of_two_are_equal_to_the_last_bit(size: int) -> None:
    assert plan_ranks(size).equality is Equality.BYTES


@pytest.mark.parametrize("size", [3, 5, 6, 12])
def test_other_numbers_are_equal_within_rounding(size: int) -> None:
    ranks = plan_ranks(size)
    values = {"world_size": size, "equality": "rounding", "base": "whole"}
    assert rank_values(ranks) == {"processes": values}
    batching = BatchSettings(batch_size=16, grad_accum=16, seq_len=64)
    (note,) = rank_notes(ranks, batching, 64.0)
    assert "within rounding" in note


def test_one_process_is_not_worth_a_word() -> None:
    assert rank_values(plan_ranks(1)) == {}
    assert list(rank_notes(plan_ranks(1), BatchSettings(), 1.0)) == []


def test_idle_processes_are_noted_with_the_setting_that_helps() -> None:
    # 16 rows of 100 tokens fill one window of 2048.
    (note,) = rank_notes(plan_ranks(4), BatchSettings(), 100.0)
    assert "1 forward pass" in note
    assert "--micro-batches 4" in note
    for enough in BatchSettings(micro_batches=4), BatchSettings(micro_batches=8):
        assert list(rank_notes(plan_ranks(4), enough, 100.0)) == []
    assert list(rank_notes(plan_ranks(4), BatchSettings(), None)) == [], "rows of --seq-len"


@pytest.mark.parametrize(
    ("asked", "size", "available", "divided"),
    [
        (ShardChoice.AUTO, 4, 99, True),
        (ShardChoice.AUTO, 4, 100, False),
        (ShardChoice.AUTO, 4, None, False),
        (ShardChoice.AUTO, 1, 99, False),
        (ShardChoice.ALWAYS, 4, 100, True),
        (ShardChoice.ALWAYS, 1, 100, False),
        (ShardChoice.NEVER, 4, 99, False),
    ],
)
def test_a_base_is_divided_where_it_does_not_fit_or_on_request(
    asked: ShardChoice, size: int, available: int | None, divided: bool
) -> None:
    assert is_divided(asked, size, 100, available) is divided
