"""Writing a graph for ExecuTorch, and running the file with its runtime. Needs the extra.

The linear layers are lowered to XNNPACK, which computes on the CPUs of phones and of this machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vox_populi import extras
from vox_populi.export.device_model import RunGraph, quiet_exporter
from vox_populi.export.mobile_graph import MobileGraph
from vox_populi.files.whole_file import write_whole


def write_executorch(graph: MobileGraph, path: Path, most_tokens: int, *, is_fixed: bool) -> None:
    """Write a graph that takes exactly `most_tokens` ids.

    Args:
        graph: The model.
        path: New file.
        most_tokens: Length of a text.
        is_fixed: True: a graph that is lowered with open shapes runs at its example's length only.
    """
    assert is_fixed, "every graph of this format has one length"
    with torch.no_grad(), quiet_exporter():
        exir = extras.load("executorch.exir")
        xnnpack = extras.load("executorch.backends.xnnpack.partition.xnnpack_partitioner")
        program = torch.export.export(graph, (torch.zeros(1, most_tokens, dtype=torch.int64),))
        lowered: Any = exir.to_edge_transform_and_lower(
            program, partitioner=[xnnpack.XnnpackPartitioner()]
        )
        data = lowered.to_executorch().buffer
    write_whole(path, data)


def run_executorch(path: Path) -> RunGraph:
    """Load a file of `write_executorch` on the CPU."""
    with quiet_exporter():
        runtime = extras.load("executorch.runtime").Runtime.get()
        program = runtime.load_program(str(path))
    method = program.load_method("forward")

    def run(ids: Tensor) -> Tensor:
        scores: Tensor = method.execute([ids])[0]
        return scores

    return run
