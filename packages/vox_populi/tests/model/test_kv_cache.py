"""The cache's room, and the model going on where it ends."""

from __future__ import annotations

import pytest
import torch

from vox_populi.model.kv_cache import FIRST_ROOM, KvCache, LayerCache


def tokens(n: int, start: int = 0) -> torch.Tensor:
    return torch.arange(start, start + n).float().reshape(n, 1, 1).expand(n, 2, 3)


def test_everything_appended_is_given_back_in_order() -> None:
    cache = LayerCache()
    cache.append(tokens(3), -tokens(3))
    k, v = cache.append(tokens(2 * FIRST_ROOM, 3), -tokens(2 * FIRST_ROOM, 3))
    assert torch.equal(k, tokens(2 * FIRST_ROOM + 3))
    assert torch.equal(v, -k)
    assert cache.length == 2 * FIRST_ROOM + 3


def test_room_doubles_so_that_most_tokens_copy_nothing() -> None:
    cache = LayerCache()
    places = set()
    for _ in range(8 * FIRST_ROOM):
        places.add(cache.append(tokens(1), tokens(1))[0].data_ptr())
    assert len(places) <= 4


def test_truncated_cache_entries_are_overwritten() -> None:
    cache = KvCache(2)
    for layer in cache.layers:
        layer.append(tokens(5), tokens(5))
    cache.truncate(2)
    k, _ = cache.layers[1].append(tokens(1, 9), tokens(1, 9))
    assert k[:, 0, 0].tolist() == [0, 1, 9]
    with pytest.raises(AssertionError, match="more than it holds"):
        cache.truncate(3)
