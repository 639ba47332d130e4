from __future__ import annotations

from array import array
from collections import Counter
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vox_populi.corpus.key_set import KeySet
from vox_populi.corpus.mix_selection import copies_of, picked, quota, random_stream, shuffle

WEIGHTS = st.floats(min_value=0, max_value=1000, allow_nan=False)


@given(n=st.integers(0, 200), weight=WEIGHTS, seed=st.integers(0, 5))
def test_copies_are_the_weight_times_the_rows(n: int, weight: float, seed: int) -> None:
    whole, more = copies_of(n, weight, random_stream(seed, "weight"))
    one_more = list(more)
    copies = [whole + extra for extra in one_more]
    assert len(copies) == n
    assert sum(copies) == quota(n, weight)
    assert abs(sum(copies) - Fraction(repr(weight)) * n) <= Fraction(1, 2)
    assert all(whole <= each <= whole + 1 for each in copies)


def test_a_quota_counts_in_the_decimals_that_were_written() -> None:
    assert [quota(5, rate) for rate in (0.1, 0.3, 0.5, 1.0, 1.5)] == [1, 2, 3, 5, 8]
    assert quota(1000, 0.001) == 1
    assert quota(10**12 + 1, 0.5) == (10**12 + 2) // 2


def test_every_subset_is_picked_for_some_seed() -> None:
    seen = Counter(tuple(picked(4, 2, random_stream(seed, "sample"))) for seed in range(300))
    assert len(seen) == 6
    assert all(sum(subset) == 2 for subset in seen)
    assert max(seen.values()) < 2 * min(seen.values())


def test_streams_differ_by_seed_and_name_and_repeat() -> None:
    names = [(0, ["a"]), (1, ["a"]), (0, ["b"]), (0, ["a", "b"])]
    first = [random_stream(seed, *words)() for seed, words in names]
    assert len(set(first)) == len(names)
    assert first == [random_stream(seed, *words)() for seed, words in names]


def test_a_shuffle_is_a_permutation_that_depends_on_the_seed() -> None:
    orders = []
    for seed in (0, 0, 1):
        values = array("Q", range(100))
        shuffle(values, random_stream(seed, "order"))
        orders.append(values)
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert any(b < a for a, b in pairwise(orders[0]))


@given(st.lists(st.integers(0, 2**64 - 1) | st.integers(1, 50), max_size=3000))
def test_a_key_set_behaves_like_a_python_set(keys: list[int]) -> None:
    mine, plain = KeySet(), set[int]()
    for key in keys:
        key = key or 1
        assert (key in mine) is (key in plain)
        assert mine.add(key) is (key not in plain)
        plain.add(key)
    assert len(mine) == len(plain)


def test_a_key_set_grows_beyond_its_first_size() -> None:
    mine = KeySet()
    keys = [key * 0x9E3779B97F4A7C15 % 2**64 for key in range(1, 5000)]
    assert all(mine.add(key) for key in keys)
    assert all(key in mine for key in keys)
    assert 7 not in mine
    assert mine.add(0) is True
    assert 1 in mine, "0 and 1 are one key"
