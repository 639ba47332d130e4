"""Seconds of CPU of a training step by whose code computes the base, in one interleaved run.

    .venv/bin/python bench/graph_sources.py --model FOLDER [--rows 8] [--tokens 128] [--rounds 5]

A family with native code is loaded through both sources, with the same adapters of rank 16 on all
linear layers and the same packed rows, half of each learned. Both take turns; the first round is
not counted. Losses and gradients are compared. One JSON object goes to stdout. With `--profile`,
the functions that the source through transformers spends most in go to stderr instead.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from activation_memory import linear_layers, long_rows

from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.inventory import read_inventory
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.hf_load import load_base
from vox_populi.model.lora_transformer import adapter_parameters, attach_adapters
from vox_populi.model.transformers_graph import TransformersGraph
from vox_tensor.collate import PackedBatch, collate_window
from vox_tensor.lora_spec import LoraSpec


def main() -> None:
    """Load both, let them take turns, compare."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    sources = (GraphSource.NATIVE, GraphSource.TRANSFORMERS)
    graphs = {source: Adapted(options.model, source) for source in sources}
    config = graphs[GraphSource.NATIVE].model.config
    tokens = options.rows * options.tokens
    batch = collate_window(long_rows(tokens, options.rows, config.vocab_size))
    if options.profile:
        profile(graphs[GraphSource.TRANSFORMERS], batch)
        return
    seconds: dict[GraphSource, list[float]] = {source: [] for source in sources}
    for _ in range(options.rounds + 1):
        for source, graph in graphs.items():
            seconds[source].append(graph.step(batch))
    native, foreign = (statistics.median(seconds[source][1:]) for source in sources)
    gradients = [graph.gradients() for graph in graphs.values()]
    largest = max(float(g.abs().max()) for g in gradients[0].values())
    differences = [float((gradients[1][n] - g).abs().max()) for n, g in gradients[0].items()]
    report = {
        "tokens": tokens,
        "rows": options.rows,
        "native_s": round(native, 3),
        "transformers_s": round(foreign, 3),
        "ratio": round(foreign / native, 3),
        "losses": [graph.loss for graph in graphs.values()],
        "gradients_differ_by": max(differences) / largest,
    }
    sys.stdout.write(json.dumps(report) + "\n")


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=128, help="of a row")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    return parser.parse_args()


class Adapted:
    """A base through one source, with adapters.

    Args:
        folder: The base.
        source: Whose code computes it.
    """

    def __init__(self, folder: Path, source: GraphSource) -> None:
        draws = torch.Generator().manual_seed(0)
        self.model: CausalGraph = load_base(read_inventory(folder, source=source), torch.float32)
        if isinstance(self.model, TransformersGraph):
            self.model.packs = True
        layers = sorted(linear_layers(self.model.config), key=lambda layer: str(layer.ours))
        adapted = attach_adapters(self.model, layers, LoraSpec(rank=16, alpha=32.0), draws)
        with torch.no_grad():
            for layer in adapted.values():
                layer.b_OR.normal_(std=0.02, generator=draws)
        self._parameters = adapter_parameters(adapted)
        self.model.train()
        self.loss = 0.0

    def step(self, batch: PackedBatch) -> float:
        """Seconds of CPU of a forward and a backward pass."""
        for parameter in self._parameters.values():
            parameter.grad = None
        started = time.process_time()
        loss = self.model.loss_sum(batch)
        loss.backward()
        self.loss = loss.item()
        return time.process_time() - started

    def gradients(self) -> dict[str, Any]:
        """Of the last step."""
        return {name: p.grad for name, p in self._parameters.items()}


def profile(graph: Adapted, batch: PackedBatch) -> None:
    """Where the time of a step goes, by operators of torch and by functions."""
    graph.step(batch)
    with torch.profiler.profile() as operators:
        graph.step(batch)
    table = operators.key_averages().table(sort_by="self_cpu_time_total", row_limit=25)
    sys.stderr.write(table + "\n")
    functions = cProfile.Profile()
    functions.runcall(graph.step, batch)
    pstats.Stats(functions, stream=sys.stderr).sort_stats("tottime").print_stats(15)


if __name__ == "__main__":
    main()
