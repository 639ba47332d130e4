"""NF4 beside bitsandbytes on the CPU: quantising and dequantising, in turns, in one process.

    .venv/bin/python bench/nf4_bench.py [--threads 2] [--rounds 9] [--keep-freed-memory]

One JSON object a line: rates in millions of values a second (median of the rounds), and the ratio
of ours to bitsandbytes' from the same rounds. `kept` writes into a buffer that is there already,
`fresh` into new memory, which costs page faults unless freed memory is kept, as training does.
bitsandbytes has no kernel for the CPU that writes into a buffer: its `kept` is a copy. The machine
may have other work; the load before and after is in the first and the last line.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import bitsandbytes
import bitsandbytes.functional
import torch

from vox_populi.model.allocator import keep_freed_memory
from vox_tensor.nf4 import Nf4Tensor, dequantize_nf4, quantize_nf4

SHAPES = ((4096, 4096), (4864, 896), (896, 896))
DTYPES = (torch.float32, torch.bfloat16)
TOKENS = 512
"""Of the matrix product that a dequantisation is put in relation to."""

peer: Any = bitsandbytes.functional
"""Half annotated."""


def main() -> None:
    """Measure all cases."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    is_kept = options.keep_freed_memory and keep_freed_memory()
    report(
        torch=torch.__version__,
        bitsandbytes=bitsandbytes.__version__,
        cpu=torch.backends.cpu.get_cpu_capability(),
        threads=options.threads,
        keeps_freed_memory=is_kept,
        load=os.getloadavg()[0],
    )
    for shape in SHAPES:
        for dtype in DTYPES:
            for double_quant in (False, True):
                measure(shape, dtype, options.rounds, double_quant=double_quant)
    report(load=os.getloadavg()[0])


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--keep-freed-memory", action="store_true")
    return parser.parse_args()


def measure(shape: tuple[int, int], dtype: torch.dtype, rounds: int, *, double_quant: bool) -> None:
    """One matrix, all ways."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    quantized = quantize_nf4(weight, double_quant=double_quant)
    ours, theirs = torch.empty_like(weight), torch.empty_like(weight)
    x = torch.randn(TOKENS, shape[1], dtype=dtype)

    def their_dense() -> torch.Tensor:
        state = as_one_row(quantized, dtype)
        dense: torch.Tensor = peer.dequantize_4bit(quantized.codes, state).view(shape)
        return dense

    def their_codes() -> None:
        peer.quantize_4bit(weight, compress_statistics=double_quant, quant_type="nf4")

    times = take_turns(
        {
            "quantise_ours": lambda: quantize_nf4(weight, double_quant=double_quant),
            "quantise_bitsandbytes": their_codes,
            "kept_ours": lambda: dequantize_nf4(quantized, dtype, ours),
            "kept_bitsandbytes": lambda: theirs.copy_(their_dense()),
            "fresh_ours": lambda: dequantize_nf4(quantized, dtype),
            "fresh_bitsandbytes": their_dense,
            "product": lambda: torch.nn.functional.linear(x, weight),
        },
        rounds,
    )
    if not torch.equal(ours, theirs):
        message = "ours and bitsandbytes' values differ; their rates compare nothing"
        raise SystemExit(message)
    report(shape=shape, dtype=str(dtype), double_quant=double_quant, **rates(weight.numel(), times))


def as_one_row(quantized: Nf4Tensor, dtype: torch.dtype) -> Any:
    """Bitsandbytes' description of a matrix, in the form that its CPU kernel reads rightly."""
    return peer.QuantState(
        absmax=quantized.absmax_B(),
        shape=torch.Size((quantized.n_values,)),
        dtype=dtype,
        blocksize=quantized.block_size,
        quant_type="nf4",
    )


def take_turns(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each, one call of each per round after one to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for i in range(rounds + 1):
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            if i:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def rates(n_values: int, seconds: Mapping[str, float]) -> dict[str, float]:
    """Rates, their ratios, and the share of a product that a dequantisation adds to it."""
    rate = {
        f"{name}_melem_s": round(n_values / taken / 1e6, 1)
        for name, taken in seconds.items()
        if name != "product"
    }
    ratio = {
        f"{kind}_ratio": round(seconds[f"{kind}_bitsandbytes"] / seconds[f"{kind}_ours"], 2)
        for kind in ("quantise", "kept", "fresh")
    }
    share = {"kept_ours_of_product": round(seconds["kept_ours"] / seconds["product"], 3)}
    return rate | ratio | share


def report(**facts: object) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
