"""Writing a graph as ONNX, and running the file with ONNX Runtime. Needs torch and the extra."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from vox_populi import extras
from vox_populi.export.mobile_graph import MobileGraph

ONNX_MODULES = ("onnx", "onnxscript", "onnxruntime")
_ONE_FILE_BYTES = 3 << 29
"""Size of weights from which they go into a file beside the graph: protobuf ends at 2 GiB."""
_EXAMPLE_TOKENS = 7


def write_onnx(
    graph: MobileGraph, path: Path, most_tokens: int, *, is_fixed: bool
) -> tuple[str, ...]:
    """Write the graph; the names of the files.

    Args:
        graph: The model.
        path: New file.
        most_tokens: Longest text.
        is_fixed: Whether the graph takes exactly `most_tokens` ids.
    """
    n_tokens = most_tokens if is_fixed else min(_EXAMPLE_TOKENS, most_tokens)
    tokens = torch.export.Dim("tokens", min=2, max=most_tokens)
    shapes = None if is_fixed else {"input_ids": {1: tokens}}
    size = sum(each.numel() * each.element_size() for each in graph.parameters())
    with torch.no_grad(), _quietly():
        program: Any = torch.onnx.export(
            graph,
            (torch.zeros(1, n_tokens, dtype=torch.int64),),
            input_names=["input_ids"],
            output_names=["logits"],
            dynamic_shapes=shapes,
            dynamo=True,
            verbose=False,
        )
        assert program is not None, "torch returns None for the older exporter only"
        program.save(path, external_data=size > _ONE_FILE_BYTES)
    return tuple(sorted(each.name for each in path.parent.glob(f"{path.name}*")))


class OnnxModel:
    """A file of `write_onnx`, run on the CPU.

    Args:
        path: The file.
        most_tokens: Longest text.
        is_fixed: Whether it takes exactly that many ids.
    """

    def __init__(self, path: Path, most_tokens: int, *, is_fixed: bool) -> None:
        runtime = extras.load("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = max(torch.get_num_threads(), 1)
        options.log_severity_level = 3
        self._session = runtime.InferenceSession(str(path), options)
        self._most_tokens, self._is_fixed = most_tokens, is_fixed

    def scores(self, ids: Sequence[int]) -> torch.Tensor:
        """Scores `[V]` of the token after `ids`."""
        padded = list(ids)
        if self._is_fixed:
            # Attention looks back only, so that what follows the text changes nothing before it.
            padded += [0] * (self._most_tokens - len(padded))
        batch = torch.tensor([padded], dtype=torch.int64).numpy()
        (scores,) = self._session.run(["logits"], {"input_ids": batch})
        return torch.from_numpy(scores[0, len(ids) - 1].copy())

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
def _quietly() -> Iterator[None]:
    """Keep the exporter from writing about packages that it does not need here."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
