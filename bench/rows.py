"""Ragged chat rows: log-normal lengths, a masked prompt, token ids drawn from a Zipf law."""

from __future__ import annotations

import random
from itertools import accumulate

from vox_tensor.records import IGNORE_INDEX, EncodedRow

SHORTEST, LONGEST, MEDIAN, SPREAD = 60, 512, 170, 0.65


def ragged_rows(count: int, vocab: int, seed: int, longest: int = LONGEST) -> list[EncodedRow]:
    """Rows of 60 to `longest` tokens (median 170), 20 to 60 percent of each a masked prompt."""
    draw = random.Random(seed)
    weights = list(accumulate(1.0 / (rank + 2) for rank in range(vocab)))
    rows = []
    for line in range(1, count + 1):
        length = round(MEDIAN * 2.718281828 ** draw.gauss(0, SPREAD))
        length = max(SHORTEST, min(longest, length))
        ids = draw.choices(range(vocab), cum_weights=weights, k=length)
        prompt = round(length * draw.uniform(0.2, 0.6))
        labels = [IGNORE_INDEX] * prompt + ids[prompt:]
        rows.append(EncodedRow(tuple(ids), tuple(labels), line))
    return rows


def cut(rows: list[EncodedRow], length: int) -> list[EncodedRow]:
    """The first tokens of each row, for the warm-up step; the last one is always learned."""
    return [
        EncodedRow(row.ids[:length], (*row.labels[: length - 1], row.ids[length - 1]), row.line)
        for row in rows
    ]
