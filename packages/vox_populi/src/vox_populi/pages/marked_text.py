"""A row's text as markup: tokens, what is learned, control tokens, and text that spells one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from vox_populi.data.control_spelling import ControlSpelling
from vox_populi.data.marked_row import MarkedRow
from vox_populi.data.token_text import TokenText
from vox_populi.pages.markup import Markup, element, joined
from vox_tensor.records import IGNORE_INDEX

MOST_AT_START, MOST_AT_END = 400, 200
"""Tokens that are shown of a long row; both ends matter."""

_Place = tuple[TokenText, bool]


def marked_text(row: MarkedRow, spelling: ControlSpelling) -> Markup:
    """The row in a `pre`: `i` is a token, `mark` learned, `b` control, `u` spells a control."""
    places = [
        (token, label != IGNORE_INDEX) for token, label in zip(row.tokens, row.labels, strict=True)
    ]
    left_out = len(places) - MOST_AT_START - MOST_AT_END
    if left_out <= 0:
        return element("pre", _stretches(places, spelling))
    gap = element("em", f"… {left_out:,} tokens are not shown …")
    start, end = places[:MOST_AT_START], places[-MOST_AT_END:]
    return element("pre", _stretches(start, spelling), gap, _stretches(end, spelling))


def _stretches(places: Sequence[_Place], spelling: ControlSpelling) -> Iterator[Markup]:
    for learned, group in groupby(places, lambda place: place[1]):
        inner = joined(_tokens([token for token, _ in group], spelling))
        yield element("mark", inner) if learned else inner


def _tokens(tokens: Sequence[TokenText], spelling: ControlSpelling) -> Iterator[Markup]:
    spelled = _spelled_places(tokens, spelling)
    previous: TokenText | None = None
    for token in tokens:
        shares = previous is not None and (token.start, token.end) == (previous.start, previous.end)
        if token.control:
            yield element("b", _visible_control(token.text), title=f"id {token.token_id}")
        elif token.text and not shares:
            inner = element("i", _visible_ends(token.text))
            is_spelled = any(token.start < b and token.end > a for a, b in spelled)
            yield element("u", inner) if is_spelled else inner
        previous = token


def _spelled_places(
    tokens: Sequence[TokenText], spelling: ControlSpelling
) -> list[tuple[int, int]]:
    """Characters of the row where ordinary tokens spell a control token."""
    found: list[tuple[int, int]] = []
    for is_control, group in groupby(tokens, lambda token: token.control):
        stretch = list(group)
        if is_control:
            continue
        shift = stretch[0].start
        text = [""] * (stretch[-1].end - shift)
        for token in stretch:
            text[token.start - shift : token.end - shift] = token.text
        found += [(a + shift, b + shift) for a, b in spelling.places("".join(text))]
    return found


def _visible_control(text: str) -> str:
    return text or "(empty control token)"


def _visible_ends(text: str) -> str:
    """Line ends with a sign, so that one at the border of what is learned is seen."""
    return text.replace("\n", "⏎\n")
