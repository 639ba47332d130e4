"""Our training step against a plain PEFT loop: interleaved processes, medians, one table.

    make bench            (or: .venv/bin/python bench/run_bench.py [--rounds N] [--shape NAME])

Writes `bench/RESULTS.md`. Nothing here is asserted by a test.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from shapes import Shape, shapes_for, write_base

HERE = Path(__file__).parent
LOSS_TOLERANCE = 1e-4
"""Largest relative difference of any step's loss; above it the timing does not count."""


def main() -> None:
    """Measure every shape of this machine's device and write the table."""
    options = parse_options()
    lines = [f"## {device_name(options.device)}", "", *HEADER]
    for shape in shapes_for(options.device):
        if options.shape in (None, shape.name):
            lines += measure(shape, options)
    text = "\n".join([*lines, "", *versions(options), ""])
    sys.stdout.write(text)
    if options.shape is None:
        (HERE / "RESULTS.md").write_text(INTRODUCTION + text, encoding="utf-8")


HEADER = [
    "| shape | variant | tokens/s | supervised tokens/s | of GEMM rate | peak GiB | last loss |",
    "|---|---|---|---|---|---|---|",
]
INTRODUCTION = """# Training step against a plain PEFT loop

Written by `make bench`. The same rows, weights, adapters (rank 16, every linear layer), dtype,
AdamW and clipping in both; processes alternate; medians over all steps of all rounds. Rows are
ragged (60 to 512 tokens, median about 170, 20 to 60 % a masked prompt), eight a step; the PEFT
loop pads them in batches of four and accumulates two. "Of GEMM rate" is useful work (4 N per
token for frozen linears, 6 N for LoRA, 4 d V per supervised token, causal attention) over a
matrix product timed in the same process.

"""


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--shape", default=None)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=device, choices=["cpu", "cuda"])
    return parser.parse_args()


def measure(shape: Shape, options: argparse.Namespace) -> list[str]:
    """Run the interleaved processes of one shape and return its rows of the table."""
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch) / "base"
        write_base(shape, base, options.device)
        job = {
            "shape": shape.name,
            "base": str(base),
            "device": options.device,
            "threads": options.threads,
            "steps": options.steps,
            "rows_per_step": 8,
            "peer_batch": 4,
            "window_tokens": 4096,
        }
        path = Path(scratch) / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        runs: dict[str, list[dict[str, Any]]] = {"peft": [], "ours": []}
        for number in range(options.rounds):
            for variant in ("peft", "ours") if number % 2 == 0 else ("ours", "peft"):
                runs[variant].append(run_worker(variant, path))
                report(shape, variant, runs[variant][-1])
    check_losses(shape, runs)
    return table_rows(shape, runs)


def run_worker(variant: str, job: Path) -> dict[str, Any]:
    """One process; its allocator defaults are the machine's."""
    done = subprocess.run(
        [sys.executable, str(HERE / "worker.py"), variant, str(job)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def report(shape: Shape, variant: str, run: Mapping[str, Any]) -> None:
    """Progress for whoever waits."""
    seconds = ", ".join(f"{s:.2f}" for s in run["seconds"])
    sys.stderr.write(f"{shape.name} {variant}: {seconds} s, loss {run['losses'][-1]:.6f}\n")


def check_losses(shape: Shape, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """A faster step that computes something else is no faster step."""
    pairs = zip(runs["ours"][0]["losses"], runs["peft"][0]["losses"], strict=True)
    worst = max(abs(a - b) / abs(b) for a, b in pairs)
    allowed = LOSS_TOLERANCE if shape.dtype == "float32" else 1e-2
    if worst > allowed:
        sys.exit(f"{shape.name}: losses differ by {worst:.2e}, allowed {allowed}")


def tokens_per_second(runs: Sequence[Mapping[str, Any]], what: str) -> float:
    """Median over all steps of all rounds."""
    rates: list[float] = [
        n / s for run in runs for n, s in zip(run[what], run["seconds"], strict=True)
    ]
    return statistics.median(rates)


def table_rows(shape: Shape, runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Both variants and their ratios."""
    rows, rates, peaks = [], {}, {}
    for variant, label in (("peft", "PEFT loop, padded 4 x 2"), ("ours", "vox")):
        own = runs[variant]
        rates[variant] = tokens_per_second(own, "tokens")
        peaks[variant] = statistics.median(run["peak_bytes"] for run in own) / 2**30
        share = statistics.median(gemm_share(shape, run) for run in own)
        rows.append(
            f"| {shape.name} | {label} | {rates[variant]:.0f} "
            f"| {tokens_per_second(own, 'supervised'):.0f} | {share:.2f} "
            f"| {peaks[variant]:.2f} | {own[-1]['losses'][-1]:.6f} |"
        )
    ratio = rates["ours"] / rates["peft"]
    rows.append(
        f"| {shape.name} | **ratio** (goal {shape.goal}) | **{ratio:.2f}** | | "
        f"| {peaks['ours'] / peaks['peft']:.2f} | |"
    )
    return rows


def gemm_share(shape: Shape, run: Mapping[str, Any]) -> float:
    """Useful floating point operations a second over the machine's product rate."""
    per_token, per_supervised = useful_flops(shape)
    shares: list[float] = [
        (t * per_token + p * per_supervised) / s / run["gemm_flops"]
        for t, p, s in zip(run["tokens"], run["supervised"], run["seconds"], strict=True)
    ]
    return statistics.median(shares)


def useful_flops(shape: Shape) -> tuple[float, float]:
    """Per token and per supervised token; attention at half the mean row length of 213."""
    c = shape.config
    width, layers, heads = c.hidden_size, c.num_hidden_layers, c.num_attention_heads
    head_dim = width // heads
    if c.model_type == "gpt2":
        pairs = [(width, 3 * width), (width, width), (width, 4 * width), (4 * width, width)]
    else:
        kv, ffn = c.num_key_value_heads * head_dim, c.intermediate_size
        pairs = [(width, width), (width, kv), (width, kv), (width, width)]
        pairs += [(width, ffn), (width, ffn), (ffn, width)]
    frozen = layers * sum(i * o for i, o in pairs)
    lora = layers * sum(16 * (i + o) for i, o in pairs)
    attention = layers * 12 * heads * head_dim * 213 / 2
    return 4.0 * frozen + 6.0 * lora + attention, 4.0 * width * c.vocab_size


def device_name(device: str) -> str:
    """What the figures were taken on."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    return f"CPU, {platform.machine()}, {os.cpu_count()} cores"


def versions(options: argparse.Namespace) -> list[str]:
    """Versions and protocol under the table."""
    packages = ", ".join(f"{n} {version(n)}" for n in ("torch", "transformers", "peft"))
    return [
        f"Python {platform.python_version()}, {packages}; {options.rounds} rounds of "
        f"{options.steps} steps after two warm-up steps, {options.threads} threads."
    ]


if __name__ == "__main__":
    main()
