"""Where the time of our step goes, on the shapes of `make bench`: one step under torch's profiler.

    python bench/step_profile.py [--shape NAME ...] [--threads N]

Prints one table: shares of the CPU time of operators by what they are part of, and the seconds of
the step without the profiler, beside the seconds that its products alone would take at the rate of
a large one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from our_step import prepare_ours
from rows import cut, ragged_rows
from shapes import shape_named
from starting_point import SPEC
from torch.profiler import ProfilerActivity, profile
from variants import OURS
from worker import WARM_LENGTH, gemm_rate, widest

HERE = Path(__file__).parent
PRODUCTS = ("aten::mm", "aten::addmm", "aten::addmm_", "aten::bmm", "aten::linear")
GATES = ("silu", "gelu", "sigmoid")
LARGE, LOW_RANK, ATTENTION, GATE, REST = KINDS = (
    "large products of the blocks and the head",
    "low-rank products, forward and backward",
    "attention, forward and backward",
    "activation of the MLP, forward and backward",
    "the rest: norms, rotation, gate and residual sums, loss, copies",
)


def main() -> None:
    """Profile each shape and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", nargs="+", default=["llama", "gpt2"])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = {name: measured(name, options.threads) for name in options.shape}
    heads = " | ".join(found)
    lines = [f"| | {heads} |", "|---" * (1 + len(found)) + "|"]
    for label in next(iter(found.values())):
        cells = " | ".join(each[label] for each in found.values())
        lines += [f"| {label} | {cells} |"]
    sys.stdout.write("\n".join(lines) + "\n")


def measured(name: str, threads: int) -> dict[str, str]:
    """The column of a shape."""
    device, shape = torch.device("cpu"), shape_named(name)
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch) / "base"
        job: dict[str, Any] = {"shape": name, "base": str(base), "device": "cpu"}
        job |= {"threads": threads, "window_tokens": 4096}
        path = Path(scratch) / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        subprocess.run([sys.executable, str(HERE / "worker.py"), "base", str(path)], check=True)
        ready = prepare_ours(OURS, shape, base, device, job, is_timed=False)
        rows = ragged_rows(40, shape.config.vocab_size, 7)
        steps = [rows[i::5] for i in range(5)]
        for warm_up in (cut(steps[0], WARM_LENGTH), max(steps, key=widest)):
            ready.step(warm_up)
        seconds = []
        for batch in steps:
            started = time.perf_counter()
            ready.step(batch)
            seconds.append(time.perf_counter() - started)
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
            ready.step(steps[0])
    spent: Counter[str] = Counter()
    for event in profiler.key_averages(group_by_input_shape=True):
        spent[kind_of(event.key, event.input_shapes)] += event.self_cpu_time_total
    total = sum(spent.values())
    return {
        "tokens of a step": f"{sum(map(len, steps[0])):,}",
        "step, s (median of five)": f"{sorted(seconds)[2]:.2f}",
        "rate of a large product, GFLOP/s": f"{gemm_rate(device, torch.float32) / 1e9:.0f}",
        **{kind: f"{100 * spent[kind] / total:.0f} %" for kind in KINDS},
    }


def kind_of(operator: str, shapes: list[list[int]]) -> str:
    """What an operator is part of."""
    if "attention" in operator:
        return ATTENTION
    if any(gate in operator for gate in GATES):
        return GATE
    if operator in PRODUCTS:
        sizes = [size for shape in shapes for size in shape if len(shape) == 2]
        return LOW_RANK if SPEC.rank in sizes else LARGE
    return REST


if __name__ == "__main__":
    main()
