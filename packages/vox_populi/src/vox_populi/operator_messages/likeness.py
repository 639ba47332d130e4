"""The known name that a misspelt one most likely means, or none if none is close."""

from __future__ import annotations

import re
from collections.abc import Collection

_LONGEST_NAME = 64
_MOST_SLIPS = 3
_SEPARATORS = re.compile(r"[-_\s.]+")


def nearest(name: str, known: Collection[str]) -> str | None:
    """The known name that differs by a typo or two, or that begins with the given name.

    A name of `n` letters may have `(n + 1) // 4` typos, at most three. A beginning must consist
    of whole words and match only one known name.
    """
    typed = _letters(name)
    if not typed or len(typed) > _LONGEST_NAME:
        return None
    limit = min((len(typed) + 1) // 4, _MOST_SLIPS)
    ranked = sorted((_slips(typed, _letters(each), limit), each) for each in known)
    if ranked and ranked[0][0] <= limit:
        return ranked[0][1]
    words = _words(name)
    begun = [each for each in known if _words(each)[: len(words)] == words]
    return begun[0] if len(begun) == 1 else None


def _words(name: str) -> list[str]:
    return [word for word in _SEPARATORS.split(name.lower()) if word]


def _letters(name: str) -> str:
    return "".join(_words(name))


def _slips(a: str, b: str, limit: int) -> int:
    """Number of letters inserted, omitted, changed or swapped; above `limit`, any larger number.

    This is the optimal string alignment distance: Damerau-Levenshtein without a second edit of
    the same letters.
    """
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    before, row = [0] * (len(b) + 1), list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        last, before, row = before, row, [i]
        for j, other in enumerate(b, start=1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
