"""Writing a graph for LiteRT, and running the file with its interpreter. Needs the extra."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from vox_populi import extras
from vox_populi.export.device_model import RunGraph, quiet_exporter
from vox_populi.export.mobile_graph import MobileGraph


def write_litert(graph: MobileGraph, path: Path, most_tokens: int, *, is_fixed: bool) -> None:
    """Write a graph that takes exactly `most_tokens` ids, in int32.

    Args:
        graph: The model.
        path: New file.
        most_tokens: Length of a text.
        is_fixed: True: LiteRT's graphs have one length.
    """
    assert is_fixed, "every graph of this format has one length"
    with torch.no_grad(), quiet_exporter(), _without_progress():
        converter = extras.load("litert_torch")
        converted = converter.convert(graph, (torch.zeros(1, most_tokens, dtype=torch.int64),))
        converted.export(str(path))


def run_litert(path: Path) -> RunGraph:
    """Load a file of `write_litert` on the CPU."""
    interpreter = extras.load("ai_edge_litert.interpreter").Interpreter(
        model_path=str(path), num_threads=max(torch.get_num_threads(), 1)
    )
    interpreter.allocate_tensors()
    (taken,), (given,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(ids: Tensor) -> Tensor:
        interpreter.set_tensor(taken["index"], ids.to(torch.int32).numpy())
        interpreter.invoke()
        return torch.from_numpy(interpreter.get_tensor(given["index"]))

    return run


@contextlib.contextmanager
def _without_progress() -> Iterator[None]:
    """The converter writes its progress to standard output, where `--json` has its document."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield
