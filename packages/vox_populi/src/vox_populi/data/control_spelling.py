"""Finds text that spells a control token, in vocabularies that may have thousands of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache


class ControlSpelling:
    """Searches texts for the names of control tokens.

    Args:
        names: Text of each control token.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(filter(None, names))
        self._lengths = sorted(set(map(len, self._names)), reverse=True)
        firsts = "|".join(sorted({re.escape(name[0]) for name in self._names}))
        self._first = re.compile(firsts or "(?!)")

    def occurs_in(self, text: str) -> bool:
        """Whether a text spells at least one."""
        return next(self.places(text), None) is not None

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        """Start and end of each, the longest at a place; none overlaps another."""
        position = 0
        while found := self._first.search(text, position):
            start = found.start()
            length = self._length_at(text, start)
            if length:
                yield start, start + length
            position = start + max(length, 1)

    def _length_at(self, text: str, start: int) -> int:
        return next((n for n in self._lengths if text[start : start + n] in self._names), 0)


@lru_cache(maxsize=4)
def spelling_of(controls: tuple[str, ...]) -> ControlSpelling:
    """The search for these names, made once: it is asked for with every row."""
    return ControlSpelling(controls)
