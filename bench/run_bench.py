"""Our training step against a plain PEFT loop: interleaved processes, medians, one table.

    make bench            (or: .venv/bin/python bench/run_bench.py [--rounds N] [--shape NAME])
    .venv/bin/python bench/run_bench.py --backend qlora [--rounds N] [--shape NAME]

Writes `bench/RESULTS.md`, for QLoRA `bench/RESULTS-qlora.md`, where every shape was measured; the
table goes to stdout in any case. Nothing here is asserted by a test.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from shapes import Shape, shape_named, shapes_for
from table import HEADER, Runs, dequantising_line, table_rows
from variants import VARIANTS, Variant
from worker import TIMED

HERE = Path(__file__).parent
LOSS_TOLERANCE = 1e-4
"""Largest relative difference of any step's loss; above it the timing does not count."""


def main() -> None:
    """Measure every shape of this machine's device and write the table."""
    options = parse_options()
    named = options.shape
    shapes = shapes_for(options.device) if named is None else (shape_named(named),)
    lines, remarks = [f"## {device_name(options.device)}", "", *HEADER], []
    for shape in shapes:
        rows, said = measure(shape, options)
        lines += rows
        remarks += said
    text = "\n".join([*lines, "", *remarks, "", *versions(options), ""])
    sys.stdout.write(text)
    if named is None:
        name, introduction = RESULTS[options.backend]
        (HERE / name).write_text(introduction + text, encoding="utf-8")


PROTOCOL = """The same rows, weights, adapters (rank 16, every linear layer), dtype,
AdamW and clipping in both; processes alternate; medians over all steps of all rounds. Rows are
ragged (60 to 512 tokens, median about 170, 20 to 60 % a masked prompt), eight a step; the PEFT
loop pads them in batches of four and accumulates two. "Of GEMM rate" is useful work (4 N per
token for frozen linears, 6 N for LoRA, 4 d V per supervised token, causal attention) over a
matrix product timed in the same process.
"""
RESULTS = {
    "lora": (
        "RESULTS.md",
        f"# Training step against a plain PEFT loop\n\nWritten by `make bench`. {PROTOCOL}\n",
    ),
    "qlora": (
        "RESULTS-qlora.md",
        "# QLoRA step against PEFT with bitsandbytes\n\n"
        f"Written by `bench/run_bench.py --backend qlora`. {PROTOCOL}\n"
        "Both sides quantise the linear layers of the blocks of one saved dense base while they"
        " load it,\nto NF4 in blocks of 64 with double quantisation; codes and magnitudes are equal"
        " byte for byte, or\nthe run does not count. The peak is that of the whole process, loading"
        " included. The loop has no\ngradient checkpointing and holds nothing else in float32, so"
        " it is faster than the usual recipe.\n\n",
    ),
}
"""By backend: where the table goes, and what stands over it."""


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="lora", choices=sorted(VARIANTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--shape", default=None, help="one shape; `smoke` is a tiny one")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=device, choices=["cpu", "cuda"])
    return parser.parse_args()


def measure(shape: Shape, options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Run the interleaved processes of one shape: its rows of the table, and remarks."""
    variants = VARIANTS[options.backend]
    with tempfile.TemporaryDirectory() as scratch:
        job = {
            "shape": shape.name,
            "base": str(Path(scratch) / "base"),
            "device": options.device,
            "threads": options.threads,
            "steps": options.steps,
            "rows_per_step": 8,
            "peer_batch": 4,
            "window_tokens": 4096,
        }
        path = Path(scratch) / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        # Not here: what this process holds at its peak, its children start with.
        run_worker("base", path)
        runs: dict[str, list[dict[str, Any]]] = {variant.name: [] for variant in variants}
        for number in range(options.rounds):
            for variant in variants if number % 2 == 0 else variants[::-1]:
                runs[variant.name].append(measured(shape, variant.name, path))
        worst = max(check_losses(shape, runs, group) for group in same_bases(variants))
        remarks = [f"- {shape.name}: losses of one base differ by at most {worst:.1e} of them"]
        for variant in variants:
            if variant.dense_copies is not None:
                timed = measured(shape, variant.name + TIMED, path)
                remarks.append(dequantising_line(shape, variant.label, timed))
    return table_rows(options.backend, shape, runs), remarks


def same_bases(variants: Sequence[Variant]) -> list[list[Variant]]:
    """Variants that must compute the same losses: those on the dense base, those on NF4."""
    groups = ([v for v in variants if v.is_quantized is on_nf4] for on_nf4 in (False, True))
    return [group for group in groups if group]


def run_worker(name: str, job: Path) -> str:
    """One process; its allocator defaults are the machine's."""
    done = subprocess.run(
        [sys.executable, str(HERE / "worker.py"), name, str(job)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout


def measured(shape: Shape, name: str, job: Path) -> dict[str, Any]:
    """The measurements of one process; prints progress."""
    run: dict[str, Any] = json.loads(run_worker(name, job).splitlines()[-1])
    seconds = ", ".join(f"{s:.2f}" for s in run["seconds"])
    sys.stderr.write(f"{shape.name} {name}: {seconds} s, loss {run['losses'][-1]:.6f}\n")
    return run


def check_losses(shape: Shape, runs: Runs, group: Sequence[Variant]) -> float:
    """The largest difference in losses: a faster step must still compute the same thing."""
    all_runs = [run for variant in group for run in runs[variant.name]]
    if len({run["nf4_digest"] for run in all_runs}) > 1:
        sys.exit(f"{shape.name}: the quantised bases differ")
    differences: list[float] = [
        abs(a - b) / abs(b)
        for run in all_runs
        for a, b in zip(run["losses"], all_runs[0]["losses"], strict=True)
    ]
    allowed = LOSS_TOLERANCE if shape.dtype == "float32" else 1e-2
    beyond = [each for each in differences if not each <= allowed]  # NaN is beyond as well.
    if beyond:
        sys.exit(f"{shape.name}: losses differ by {max(beyond):.2e}, allowed {allowed}")
    return max(differences)


def device_name(device: str) -> str:
    """What the figures were taken on."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU, {platform.machine()}, {os.cpu_count()} cores"


def versions(options: argparse.Namespace) -> list[str]:
    """Versions and protocol under the table."""
    names = ["torch", "transformers", "peft"]
    names += ["bitsandbytes"] if options.backend == "qlora" else []
    packages = ", ".join(f"{n} {version(n)}" for n in names)
    return [
        f"Python {platform.python_version()}, {packages}; {options.rounds} rounds of "
        f"{options.steps} steps after two warm-up steps, {options.threads} threads."
    ]


if __name__ == "__main__":
    main()
