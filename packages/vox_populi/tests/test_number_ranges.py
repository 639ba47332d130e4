from __future__ import annotations

import math

import pytest

from vox_populi import number_ranges
from vox_populi.errors import ConfigError
from vox_populi.number_ranges import NumberRange, require_ranges

RANGES = {
    name: value for name, value in vars(number_ranges).items() if isinstance(value, NumberRange)
}
HOSTILE = (-1, 2**70, -(2**70), 1e300, -1e300, math.nan, math.inf, -math.inf, True, "1", None)


@pytest.mark.parametrize("name", RANGES)
def test_what_means_nothing_is_in_no_range(name: str) -> None:
    allowed = RANGES[name]
    accepted = [value for value in HOSTILE if allowed.holds(value)]
    assert accepted == ([2**70] if name in ("THREADS", "NORM") else [])


@pytest.mark.parametrize("name", RANGES)
def test_a_range_holds_its_ends_unless_it_says_otherwise(name: str) -> None:
    allowed = RANGES[name]
    assert allowed.holds(allowed.lowest) is not allowed.above_lowest
    if allowed.highest < math.inf:
        assert allowed.holds(allowed.highest) is not allowed.below_highest
        assert not allowed.holds(allowed.highest * 2)
    assert allowed.holds(0) is (
        allowed.zero_too or (allowed.lowest == 0 and not allowed.above_lowest)
    )
    assert allowed.holds(1.0) is (not allowed.is_whole and allowed.holds(1))


def test_a_factor_fits_float32_with_room() -> None:
    for alpha in (number_ranges.ALPHA.lowest, number_ranges.ALPHA.highest):
        for rank in (number_ranges.RANK.lowest, number_ranges.RANK.highest):
            assert 1e-12 < alpha / rank < 1e12


def test_messages_say_the_range_in_words() -> None:
    assert str(number_ranges.EPOCHS) == "a whole number from 1 to 1000000"
    assert str(number_ranges.LEARNING_RATE) == "a number above 0, at most 1000"
    assert str(number_ranges.PART) == "a number from 0 and below 1"
    assert str(number_ranges.TEMPERATURE) == "0, or a number from 1e-06 to 1e+06"


def test_all_that_is_out_of_range_comes_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        require_ranges(
            ("--a", 0, number_ranges.COUNT),
            ("--b", None, number_ranges.COUNT),
            ("--c", math.nan, number_ranges.FACTOR),
        )
    assert [problem.where for problem in caught.value.problems] == ["--a", "--c"]
