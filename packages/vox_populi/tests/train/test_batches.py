"""The order of an epoch: shuffled by the seed; under a curriculum, easy rows first."""

from __future__ import annotations

from vox_populi.train.batches import epoch_order

GRADES = [9.0, 1.0, 0.0, 5.0, 1.0, 10.0, 0.0, 2.5]
"""0 is a row without a difficulty, which counts as 5."""


def test_a_curriculum_puts_easy_rows_first_and_shuffles_those_of_one_difficulty() -> None:
    orders = [list(epoch_order(8, 42, epoch, GRADES)) for epoch in range(20)]
    for order in orders:
        assert sorted(order) == list(range(8))
        assert [GRADES[row] or 5.0 for row in order] == [1.0, 1.0, 2.5, 5.0, 5.0, 5.0, 9.0, 10.0]
    assert len({tuple(order) for order in orders}) > 1, "ties are shuffled again in each epoch"


def test_rows_of_one_difficulty_keep_the_order_they_have_without_a_curriculum() -> None:
    plain = list(epoch_order(50, 7, 3))
    assert list(epoch_order(50, 7, 3, [0.0] * 50)) == plain
    halves = [3.0] * 25 + [8.0] * 25
    ordered = list(epoch_order(50, 7, 3, halves))
    assert ordered == [r for r in plain if r < 25] + [r for r in plain if r >= 25]
    assert ordered != plain
    assert ordered == list(epoch_order(50, 7, 3, halves))
