"""Positions of tokens in their text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

Span = tuple[int, int]
"""Start and end of characters in a text, or of tokens."""


class TokenPlaces(Sequence[Span]):
    """The characters of each token, for a tokenizer that need not list them to find one."""

    @abstractmethod
    def tokens_of(self, span: Span) -> Span:
        """The tokens that share a character with a span of characters; `(0, 0)` for none."""


def tokens_of(span: Span, places: Sequence[Span]) -> Span:
    """`TokenPlaces.tokens_of` for any sequence of places."""
    if isinstance(places, TokenPlaces):
        return places.tokens_of(span)
    start, end = span
    inside = [i for i, (a, b) in enumerate(places) if a < end and b > start and a < b]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)
