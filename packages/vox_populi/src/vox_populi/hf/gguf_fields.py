"""Typed reading of a GGUF file's metadata: every wrong field becomes a problem, none stops it."""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from vox_populi.containers.gguf_header import GgufHeader, GgufValue
from vox_populi.operator_messages import gguf as say
from vox_tensor.errors import Problem

_PLACEHOLDER = 1
"""Stands for a reported field, so that the fields after it are still checked."""


@dataclass(slots=True)
class GgufFields:
    """The metadata of a file and the problems found in it so far."""

    header: GgufHeader
    problems: list[Problem] = field(default_factory=list)

    @property
    def where(self) -> str:
        """The file."""
        return str(self.header.path)

    def value(self, key: str) -> GgufValue | None:
        """A raw value, or `None` when absent."""
        return self.header.metadata.get(key)

    def count(self, key: str, *, default: int | None = None) -> int:
        """A positive whole number; a list with one for each layer must have equal ones."""
        value = self.value(key)
        if isinstance(value, array):
            different = set(value)
            if len(different) > 1:
                self.unsupported(key, list(value), "layers of different shapes")
                return _PLACEHOLDER
            value = next(iter(different), None)
        if value is None and default is not None:
            return default
        if type(value) is int and value >= 1:
            return value
        self._wrong(key, value, "a positive whole number")
        return _PLACEHOLDER

    def number(self, key: str, *, default: float | None = None) -> float:
        """A positive number; the shortest decimal that is the same float32."""
        value = self.value(key)
        if value is None and default is not None:
            return default
        plain = value if isinstance(value, (int, float)) and value is not True else 0
        if math.isfinite(plain) and plain > 0:
            return shortest(float(plain))
        self._wrong(key, value, "a positive number")
        return float(_PLACEHOLDER)

    def text(self, key: str, *, default: str | None = None) -> str | None:
        """A text, or the default when absent."""
        value = self.value(key)
        if value is None or isinstance(value, str):
            return default if value is None else value
        self._wrong(key, value, "a text")
        return default

    def flag(self, key: str, *, default: bool) -> bool:
        """A boolean."""
        value = self.value(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self._wrong(key, value, "true or false")
        return default

    def texts(self, key: str) -> tuple[str, ...] | None:
        """A list of texts, or `None` when absent."""
        value = self.value(key)
        if value is None or isinstance(value, tuple):
            return value
        self._wrong(key, value, "a list of texts")
        return None

    def numbers(self, key: str) -> Sequence[float] | None:
        """A list of numbers, or `None` when absent."""
        value = self.value(key)
        if value is None or isinstance(value, array):
            return value
        self._wrong(key, value, "a list of numbers")
        return None

    def token_id(self, key: str, n_tokens: int) -> int | None:
        """The id of a token, or `None` when absent or outside the vocabulary, as in llama.cpp."""
        value = self.value(key)
        if value is not None and type(value) is not int:
            self._wrong(key, value, "the id of a token")
            return None
        assert value is None or isinstance(value, int)
        return value if value is not None and 0 <= value < n_tokens else None

    def unsupported(self, key: str, value: object, meaning: str) -> None:
        """Report a setting that is recognised but not supported."""
        self.problems.append(say.gguf_unsupported(key, value, meaning).at(self.where))

    def _wrong(self, key: str, value: object, expected: str) -> None:
        self.problems.append(say.gguf_field_wrong(key, value, expected).at(self.where))


def shortest(value: float) -> float:
    """The shortest decimal among the numbers that are the same float32: 1e-05, not 9.99...e-06."""
    try:
        packed = struct.pack("<f", value)
    except OverflowError:
        return value
    if struct.unpack("<f", packed)[0] != value:
        return value
    return next(
        near
        for digits in range(1, 18)
        if struct.pack("<f", near := float(f"{value:.{digits}g}")) == packed
    )
