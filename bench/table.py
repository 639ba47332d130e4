"""The table of one shape: every variant's rates and memory, then their ratios."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from shapes import Shape
from variants import VARIANTS, ratios_for

HEADER = [
    "| shape | variant | tokens/s | supervised tokens/s | of GEMM rate | peak GiB | last loss |",
    "|---|---|---|---|---|---|---|",
]

Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""All processes of every variant, by its name."""


def table_rows(backend: str, shape: Shape, runs: Runs) -> list[str]:
    """All variants and their ratios."""
    rows, rates, peaks = [], {}, {}
    for variant in VARIANTS[backend]:
        own = runs[variant.name]
        rates[variant] = tokens_per_second(own, "tokens")
        peaks[variant] = statistics.median(run["peak_bytes"] for run in own) / 2**30
        share = statistics.median(gemm_share(shape, run) for run in own)
        rows.append(
            f"| {shape.name} | {variant.label} | {rates[variant]:.0f} "
            f"| {tokens_per_second(own, 'supervised'):.0f} | {share:.2f} "
            f"| {peaks[variant]:.2f} | {own[-1]['losses'][-1]:.6f} |"
        )
    for ratio in ratios_for(backend, shape):
        quotient = rates[ratio.over] / rates[ratio.under]
        quotient = 1.0 / quotient if ratio.is_time else quotient
        memory = peaks[ratio.over] / peaks[ratio.under]
        rows.append(f"| {shape.name} | **{ratio.label} | **{quotient:.2f}** | | | {memory:.2f} | |")
    return rows


def tokens_per_second(runs: Sequence[Mapping[str, Any]], what: str) -> float:
    """Median over all steps of all rounds."""
    rates: list[float] = [
        n / s for run in runs for n, s in zip(run[what], run["seconds"], strict=True)
    ]
    return statistics.median(rates)


def dequantising_line(shape: Shape, label: str, run: Mapping[str, Any]) -> str:
    """The share of a step that goes into making weights dense, from one instrumented process."""
    pairs = zip(run["dequantising"], run["seconds"], strict=True)
    share = statistics.median(spent / taken for spent, taken in pairs)
    return f"- {shape.name}, {label}: {100 * share:.1f} % of a step goes into dequantising"


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
