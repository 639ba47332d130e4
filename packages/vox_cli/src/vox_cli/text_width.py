"""Terminal columns of a text: East Asian characters take two, combining marks none."""

from __future__ import annotations

import unicodedata


def cells(text: str) -> int:
    """Columns of a one-line text."""
    return sum(map(_cell, text))


def padded(text: str, width: int, *, to_the_right: bool = False) -> str:
    """A text padded with spaces to a number of columns."""
    space = " " * (width - cells(text))
    return space + text if to_the_right else text + space


def cut(text: str, width: int) -> str:
    """The beginning of a text that fits a number of columns."""
    room = width
    for index, character in enumerate(text):
        room -= _cell(character)
        if room < 0:
            return text[:index]
    return text


def _cell(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
