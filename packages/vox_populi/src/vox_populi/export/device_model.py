"""A graph in the format of another program, run here: scores of the next token, greedy answers.

Shape letters: T tokens, V vocabulary. Needs torch.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

RunGraph = Callable[[Tensor], Tensor]
"""Scores `[1, T, V]` for ids `[1, T]` in int64."""


class DeviceModel:
    """A written graph, and how to run it.

    Args:
        run: Runs the graph.
        most_tokens: Longest text.
        is_fixed: Whether it takes exactly that many ids.
    """

    def __init__(self, run: RunGraph, most_tokens: int, *, is_fixed: bool) -> None:
        self._run = run
        self._most_tokens, self._is_fixed = most_tokens, is_fixed

    def scores(self, ids: Sequence[int]) -> Tensor:
        """Scores `[V]` of the token after `ids`."""
        padded = list(ids)
        if self._is_fixed:
            # Attention looks back only, so that what follows the text changes nothing before it.
            padded += [0] * (self._most_tokens - len(padded))
        scores_1TV = self._run(torch.tensor([padded], dtype=torch.int64))
        return scores_1TV[0, len(ids) - 1].clone()

    def answer(
        self, prompt: Sequence[int], most_new: int, stop_ids: Collection[int]
    ) -> tuple[int, ...]:
        """The greedy answer, without the token that ended it."""
        ids = list(prompt)
        while len(ids) - len(prompt) < most_new and len(ids) < self._most_tokens:
            token = int(self.scores(ids).argmax())
            if token in stop_ids:
                break
            ids.append(token)
        return tuple(ids[len(prompt) :])


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """The first place at which two answers differ; `None` if they are equal."""
    pairs: Iterator[int] = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    found = next(pairs, None)
    if found is None and len(one) != len(other):
        return min(len(one), len(other))
    return found


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Keep exporters from writing about packages and settings that are not needed here."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
