"""Keys and values of the tokens that a model has read, so that each is computed once.

Shape letters: T new tokens, L cached tokens, C capacity, K key/value heads, E head dim.
"""

from __future__ import annotations

from torch import Tensor

FIRST_ROOM = 64
"""Initial capacity of a cache in tokens; it doubles when it is full."""


class LayerCache:
    """Keys (after norm and rotation) and values of one layer."""

    __slots__ = ("_keys_CKE", "_values_CKE", "length")

    def __init__(self) -> None:
        self.length = 0
        """Number of cached tokens."""
        self._keys_CKE: Tensor | None = None
        self._values_CKE: Tensor | None = None

    def append(self, k_TKE: Tensor, v_TKE: Tensor) -> tuple[Tensor, Tensor]:
        """Append new tokens; return all keys and values, `[L, K, E]`, as views of the cache."""
        start, self.length = self.length, self.length + k_TKE.shape[0]
        self._keys_CKE = _with(k_TKE, self._keys_CKE, start)
        self._values_CKE = _with(v_TKE, self._values_CKE, start)
        return self.held()

    def held(self) -> tuple[Tensor, Tensor]:
        """All keys and values, `[L, K, E]`, as views of the cache, which must not be empty."""
        assert self._keys_CKE is not None, "nothing was appended"
        assert self._values_CKE is not None, "nothing was appended"
        return self._keys_CKE[: self.length], self._values_CKE[: self.length]


class KvCache:
    """The caches of a model's layers, for inference only: nothing in it has a gradient."""

    __slots__ = ("layers",)

    def __init__(self, n_layers: int) -> None:
        self.layers = tuple(LayerCache() for _ in range(n_layers))

    def copy(self) -> KvCache:
        """A cache of the same tokens with memory of its own; no layer may be empty."""
        made = KvCache(len(self.layers))
        for layer, copied in zip(self.layers, made.layers, strict=True):
            copied.append(*layer.held())
        return made

    @property
    def length(self) -> int:
        """Number of cached tokens, between two passes."""
        return self.layers[0].length

    def truncate(self, length: int) -> int:
        """Drop all but the first `length` tokens, which every layer must have; what is kept."""
        for layer in self.layers:
            assert length <= layer.length, "a cache cannot be cut to more than it holds"
            layer.length = length
        return length


def _with(new_TKE: Tensor, held_CKE: Tensor | None, start: int) -> Tensor:
    """`held` with the new tokens at `start`; a larger copy if they do not fit."""
    end = start + new_TKE.shape[0]
    if held_CKE is None or end > held_CKE.shape[0]:
        had = 0 if held_CKE is None else held_CKE.shape[0]
        larger_CKE = new_TKE.new_empty((max(FIRST_ROOM, 2 * had, end), *new_TKE.shape[1:]))
        if held_CKE is not None:
            larger_CKE[:start] = held_CKE[:start]
        held_CKE = larger_CKE
    held_CKE[start:end] = new_TKE
    return held_CKE
