"""What a class of transformers keeps of the tokens that it has read, as our caches are used."""

from __future__ import annotations

from typing import Any

from vox_populi.hf.transformers_classes import load_transformers
from vox_populi.model.kv_cache import KvCache


class TransformersCache(KvCache):
    """The cache that a class makes for its own kinds of layers.

    Args:
        config: The config of the class.
    """

    __slots__ = ("_config", "_length", "inner")

    def __init__(self, config: Any) -> None:
        super().__init__(0)
        self._config = config
        self._clear()

    def _clear(self) -> None:
        self.inner: Any = load_transformers().DynamicCache(config=self._config)
        self._length = 0

    @property
    def length(self) -> int:
        """Number of cached tokens, between two passes."""
        return self._length

    def grow(self, n_tokens: int) -> None:
        """Count the tokens of a pass that is done."""
        self._length += n_tokens

    def truncate(self, length: int) -> int:
        """Keep everything or nothing: a window or a recurrent state cannot be cut."""
        if length != self._length:
            self._clear()
        return self._length
