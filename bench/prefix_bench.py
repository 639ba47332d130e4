"""Rows that begin alike: a step with shared prefixes beside the same step without them.

    .venv/bin/python bench/prefix_bench.py [--rows 64] [--schema 1500] [--answer 60]
                                           [--rounds 2] [--peer-python PYTHON --tokenizer DIR]

Every measurement is a process of its own, and the two ways take turns. Three kinds of rows: a tool
schema of 1,500 tokens before 60-token answers, chat rows that share nothing (which must not become
slower), and chat rows behind a short system prompt. The base has random weights, and the width of
SmolLM2-135M with six layers. With `--peer-python`, TRL's packing learns from the same rows behind
the schema (`prefix_trl.py`); it wants a tokenizer beside the base, which it does not use.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from our_step import load
from rows import ragged_rows
from shapes import LLAMA_TARGETS, Shape, write_base
from starting_point import CLIP, RATE, SPEC, block_modules, initial_factors
from transformers import LlamaConfig

from vox_populi.contract.setting_groups import OptimizationSettings
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.model.allocator import keep_freed_memory
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.train.gradients import clip_gradients, forget_gradients
from vox_populi.train.memory_peak import peak_memory_bytes
from vox_populi.train.optimizers.registry import build_optimizer
from vox_tensor.records import IGNORE_INDEX, EncodedRow

VOCAB, LAYERS = 49_152, 6
WAYS = ("shared", "unshared")
CHAT_ROWS, PROMPT_TOKENS = 32, 20


def main() -> None:
    """Measure, or be one of the measured processes."""
    options = parse_options()
    if options.worker is not None:
        job = json.loads(Path(options.worker).read_text(encoding="utf-8"))
        torch.set_num_threads(job["threads"])
        sys.stdout.write(json.dumps(measure(job)) + "\n")
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        folder = Path(scratch)
        base = folder / "base"
        write_base(random_shape(), base, "cpu")
        found = [
            one(folder, base, kind, way, options)
            for kind in options.kinds
            for number in range(options.rounds)
            for way in (WAYS if number % 2 == 0 else WAYS[::-1])
        ]
        peer = None if options.peer_python is None else beside_trl(folder, base, options)
    sys.stdout.write(table(found, peer))


def random_shape() -> Shape:
    """SmolLM2-135M with fewer layers."""
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=LAYERS,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    return Shape("smol-6", config, "float32", LLAMA_TARGETS, 1.0)


def rows_of(kind: str, job: dict[str, Any]) -> list[EncodedRow]:
    """The rows of one step."""
    if kind == "schema":
        return schema_rows(job["rows"], job["schema"], job["answer"])
    rows = ragged_rows(CHAT_ROWS, VOCAB, 7)
    if kind == "system":
        head = drawn(random.Random(3), PROMPT_TOKENS)
        rows = [
            dataclasses.replace(
                row, ids=(*head, *row.ids), labels=(*[IGNORE_INDEX] * len(head), *row.labels)
            )
            for row in rows
        ]
    return rows


def schema_rows(count: int, schema: int, answer: int) -> list[EncodedRow]:
    """One beginning, and answers of which no two begin alike; only answers are learned."""
    draw = random.Random(11)
    head = drawn(draw, schema)
    return [
        EncodedRow((*head, *tail), (*[IGNORE_INDEX] * schema, *tail), line)
        for line in range(1, count + 1)
        for tail in [(line, *drawn(draw, answer - 1))]
    ]


def drawn(draw: random.Random, count: int) -> tuple[int, ...]:
    """Token ids."""
    return tuple(draw.randrange(100, VOCAB) for _ in range(count))


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """A short step to warm up, then the steps that are timed."""
    keep_freed_memory()
    base = Path(job["base"])
    model = load(random_shape(), base, torch.device("cpu"), None)
    modules = block_modules(base)
    adapted = attach_adapters(model, modules, SPEC)
    with torch.no_grad():
        for module, start in zip(modules, initial_factors(base).values(), strict=True):
            adapted[module.ours].a_RI.copy_(start)
    objective = AdaptedObjective(model, adapted, share_prefixes=job["way"] == "shared")
    parameters = tuple(objective.parameters().values())
    optimizer = build_optimizer(OptimizationSettings(weight_decay=0.0), objective.parameters())
    objective.set_training(active=True)
    rows = rows_of(job["kind"], job)

    def step(rows: Sequence[EncodedRow]) -> float:
        forget_gradients(parameters)
        weight = objective.normaliser(rows)
        total = 0.0
        for loss_sum in objective.loss_sums(rows, job["window_tokens"]):
            (loss_sum / weight).backward()
            total += loss_sum.item()
        objective.saved_tokens(rows, job["window_tokens"])
        clip_gradients(parameters, CLIP)
        optimizer.step(RATE)
        return total / weight

    step(rows[:2])
    losses, seconds = [], []
    for _ in range(job["steps"]):
        started = time.perf_counter()
        losses.append(step(rows))
        seconds.append(time.perf_counter() - started)
    tokens = sum(map(len, rows))
    return {
        "kind": job["kind"],
        "way": job["way"],
        "rows": len(rows),
        "tokens": tokens,
        "computed": tokens - objective.saved_tokens(rows, job["window_tokens"]),
        "seconds": seconds,
        "losses": losses,
        "peak_bytes": peak_memory_bytes(torch.device("cpu")),
    }


def one(
    folder: Path, base: Path, kind: str, way: str, options: argparse.Namespace
) -> dict[str, Any]:
    """One process."""
    job = {
        "base": str(base),
        "kind": kind,
        "way": way,
        "threads": options.threads,
        "rows": options.rows,
        "schema": options.schema,
        "answer": options.answer,
        "window_tokens": options.window_tokens,
        "steps": 1 if kind == "schema" else options.chat_steps,
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(Path(__file__).resolve()), "--worker", str(path)],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    sys.stderr.write(json.dumps(found) + "\n")
    return found


def beside_trl(folder: Path, base: Path, options: argparse.Namespace) -> dict[str, Any]:
    """TRL's packing on some of the rows."""
    rows = schema_rows(options.rows, options.schema, options.answer)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(options.tokenizer / name, base / name)
    path = folder / "rows.json"
    path.write_text(
        json.dumps(
            {
                "input_ids": [row.ids for row in rows],
                "completion_mask": [
                    [int(label != IGNORE_INDEX) for label in row.labels] for row in rows
                ],
            }
        ),
        encoding="utf-8",
    )
    script = Path(__file__).resolve().with_name("prefix_trl.py")
    width = options.schema + options.answer
    done = subprocess.run(
        [options.peer_python, script, base, path, folder, str(width), str(options.threads)],
        check=True,
        capture_output=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    sys.stderr.write(json.dumps(found) + "\n")
    return found


def table(found: Sequence[dict[str, Any]], peer: dict[str, Any] | None) -> str:
    """Lines of Markdown."""
    lines = [
        "| rows | way | tokens | computed | step, s | row tokens/s | loss | peak, GiB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    medians: dict[tuple[str, str], float] = {}
    for kind, way in dict.fromkeys((each["kind"], each["way"]) for each in found):
        same = [each for each in found if (each["kind"], each["way"]) == (kind, way)]
        seconds = [s for each in same for s in each["seconds"]]
        medians[kind, way] = statistics.median(seconds)
        first, rate = same[0], same[0]["tokens"] / medians[kind, way]
        peak = max(each["peak_bytes"] for each in same) / 2**30
        lines.append(
            f"| {first['rows']} {kind} | {way} | {first['tokens']:,} | {first['computed']:,} |"
            f" {', '.join(f'{s:.2f}' for s in seconds)} | {rate:,.0f} |"
            f" {first['losses'][0]:.6f} | {peak:.2f} |"
        )
    if peer is not None:
        lines.append(
            f"| {peer['rows']} schema | TRL {peer['trl']}, packed | {peer['tokens']:,} |"
            f" {peer['tokens']:,} | {peer['seconds']:.2f} | {peer['tokens'] / peer['seconds']:,.0f}"
            f" | {peer['loss']:.6f} | {peer['peak_bytes'] / 2**30:.2f} |"
        )
    for kind in dict.fromkeys(each["kind"] for each in found):
        ratio = medians[kind, "shared"] / medians[kind, "unshared"]
        lines.append(f"| **{kind}: shared / unshared** | | | | {ratio:.3f} | | | |")
    return "\n".join(lines) + "\n"


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--schema", type=int, default=1500)
    parser.add_argument("--answer", type=int, default=60)
    parser.add_argument("--window-tokens", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--chat-steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--kinds", nargs="+", default=["schema", "chats", "system"], help="Rows to measure."
    )
    parser.add_argument("--peer-python")
    parser.add_argument("--tokenizer", type=Path, help="Folder of a model with one, for TRL.")
    parser.add_argument("--folder", type=Path, help="Folder for scratch files.")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
