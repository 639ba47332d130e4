from __future__ import annotations

from dataclasses import replace

from vox_populi.data.row_reader import EncodedRowCache
from vox_tensor.records import IGNORE_INDEX, EncodedRow

N_TOKENS = 10


def row(line: int) -> EncodedRow:
    ids = tuple(range(line, line + N_TOKENS))
    return EncodedRow(ids, (IGNORE_INDEX, *ids[1:]), line)


def held(cache: EncodedRowCache, lines: range) -> list[int]:
    return [line for line in lines if cache.get(line) is not None]


def test_a_cached_row_is_returned_unchanged() -> None:
    cache = EncodedRowCache()
    cache.put(row(7))
    assert cache.get(7) == row(7)
    assert cache.get(8) is None
    heavy = replace(row(9), weight=2.5)
    cache.put(heavy)
    assert cache.get(9) == heavy != row(9)


def test_the_row_cache_keeps_a_bounded_number_of_tokens() -> None:
    cache = EncodedRowCache(max_tokens=1000)
    for line in range(1, 10_000):
        cache.put(row(line))
    kept = held(cache, range(1, 10_000))
    assert 0 < len(kept) * N_TOKENS < 1000
    assert kept == list(range(10_000 - len(kept), 10_000))


def test_rows_in_use_stay() -> None:
    cache = EncodedRowCache(max_tokens=1000)
    for line in range(1, 1000):
        cache.put(row(line))
        assert cache.get(1) == row(1)
    assert cache.get(2) is None


def test_a_row_put_twice_is_counted_once() -> None:
    cache = EncodedRowCache(max_tokens=1000)
    cache.put(row(1))
    for _ in range(1000):
        cache.put(row(2))
    assert held(cache, range(1, 3)) == [1, 2]


def test_a_row_larger_than_the_cache_is_not_held() -> None:
    cache = EncodedRowCache(max_tokens=N_TOKENS)
    cache.put(row(1))
    assert cache.get(1) is None
