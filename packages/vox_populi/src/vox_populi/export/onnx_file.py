"""Writing a graph as ONNX, and running the file with ONNX Runtime. Needs torch and the extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vox_populi import extras
from vox_populi.export.device_model import RunGraph, quiet_exporter
from vox_populi.export.mobile_graph import MobileGraph

_ONE_FILE_BYTES = 3 << 29
"""Size of weights from which they go into a file beside the graph: protobuf ends at 2 GiB."""
_EXAMPLE_TOKENS = 7


def write_onnx(graph: MobileGraph, path: Path, most_tokens: int, *, is_fixed: bool) -> None:
    """Write the graph, with weights that are too many for one file beside it.

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
    with torch.no_grad(), quiet_exporter():
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


def run_onnx(path: Path) -> RunGraph:
    """Load a file of `write_onnx` on the CPU."""
    runtime = extras.load("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = max(torch.get_num_threads(), 1)
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options)

    def run(ids: Tensor) -> Tensor:
        (scores,) = session.run(["logits"], {"input_ids": ids.numpy()})
        return torch.from_numpy(scores)

    return run
