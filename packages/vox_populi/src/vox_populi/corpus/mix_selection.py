"""Choosing and ordering rows: exact quotas, drawn from named random streams of one seed."""

from __future__ import annotations

import hashlib
import math
import random
from array import array
from collections.abc import Callable, Iterator
from fractions import Fraction

Draw = Callable[[], float]


def random_stream(seed: int, *names: str) -> Draw:
    """Numbers in [0, 1) that depend only on the seed and the stream's name."""
    # `random.shuffle` and `sample` may change between Python versions, `random()` may not.
    text = "\0".join(("mix", *names, str(seed)))
    return random.Random(int.from_bytes(hashlib.sha256(text.encode()).digest())).random


def quota(n_rows: int, rate: float) -> int:
    """Number of rows that a rate gives out of `n_rows`, rounding halves up.

    Computed in decimal, as written: 0.1 of 5 rows is exactly half a row.
    """
    return math.floor(Fraction(repr(rate)) * n_rows + Fraction(1, 2))


def picked(n_rows: int, n_picked: int, draw: Draw) -> Iterator[bool]:
    """Flags that pick `n_picked` of `n_rows` rows; every subset is equally likely."""
    left = n_picked
    for row in range(n_rows):
        takes = draw() * (n_rows - row) < left
        left -= takes
        yield takes


def copies_of(n_rows: int, weight: float, draw: Draw) -> tuple[int, Iterator[bool]]:
    """Copies that every row gets, and for each row whether it gets one more.

    Together they make `quota(n_rows, weight)` copies.
    """
    whole = math.floor(weight)
    return whole, picked(n_rows, quota(n_rows, weight) - whole * n_rows, draw)


def shuffle(values: array[int], draw: Draw) -> None:
    """Shuffle values; every order is equally likely."""
    for last in range(len(values) - 1, 0, -1):
        other = int(draw() * (last + 1))
        values[last], values[other] = values[other], values[last]
