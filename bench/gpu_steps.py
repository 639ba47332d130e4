"""Parts of `gpu_check.py` that take optimizer steps: parity, speed, the peer, a profile."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from gpu_models import Made, Stepper, our_stepper, peft_stepper
from gpu_place import Part, Place, now, without_kernels
from gpu_shapes import H100_BF16, shape_named, useful_work
from rows import ragged_rows

from vox_tensor.records import EncodedRow

ROW_TOKENS, STEP_TOKENS = 2048, 16_384
WARM_STEPS, TIMED_STEPS = 2, 4
PEFT_ROWS = 2
"""Rows of 2048 that the padded loop computes at a time; its logits of one are 1.2 GB in float32."""


def parity(place: Place) -> dict[str, Any]:
    """Losses and gradient norms of this device beside the CPU's, LoRA and NF4, tiny and 1B."""
    result = {}
    for name, copies in (("tiny", None), ("tiny", "none"), ("1b", None), ("1b", "none")):
        if place.is_tiny and name != "tiny":
            continue
        shape = shape_named(name, is_tiny=place.is_tiny)
        n_steps = 3 if name == "tiny" else 1
        lengths = (60, 33, 7) if name == "tiny" else (120, 96, 40)
        steps = [_rows(lengths, shape.config["vocab_size"], seed) for seed in range(n_steps)]
        ways = {
            "cpu": (torch.device("cpu"), torch.float32),
            "f32": (place.device, torch.float32),
            "bf16": (place.device, torch.bfloat16),
        }
        found = {}
        for way, (device, dtype) in ways.items():
            draw_on = "cpu" if name == "tiny" else place.device.type
            made = Made(device=device, dtype=dtype, draw_on=draw_on, copies=copies)
            stepper = our_stepper(shape, made)
            found[way] = [stepper.step(rows) for rows in steps]
            del stepper
            gc.collect()
        result[f"{name} {'lora' if copies is None else 'nf4'}"] = {
            "steps": found,
            "off_f32": _apart(found["f32"], found["cpu"]),
            "off_bf16": _apart(found["bf16"], found["cpu"]),
        }
    return result


def _apart(ours: Sequence[tuple[float, float]], cpus: Sequence[tuple[float, float]]) -> float:
    """Largest relative difference of a loss or a norm."""
    pairs = [
        (a, b) for one, two in zip(ours, cpus, strict=True) for a, b in zip(one, two, strict=True)
    ]
    return max(abs(a - b) / abs(b) for a, b in pairs)


def plain(part: Part) -> Part:
    """A part with torch's operations instead of our pointwise kernels, to be compared with it."""

    def without(place: Place) -> dict[str, Any]:
        with without_kernels():
            return part(place)

    return without


def speed(name: str, copies: str | None) -> Part:
    """Our step on packed rows of 2048 tokens, all of them learned."""

    def part(place: Place) -> dict[str, Any]:
        shape = shape_named(name, is_tiny=place.is_tiny)
        steps = _full_steps(place, shape.config["vocab_size"])
        make = partial(our_stepper, shape, place.made(copies))
        return timed(make, steps, shape.config, place)

    return part


def peft(name: str) -> Part:
    """Plain PEFT on the same rows and weights."""

    def part(place: Place) -> dict[str, Any]:
        shape = shape_named(name, is_tiny=place.is_tiny)
        steps = _full_steps(place, shape.config["vocab_size"])
        make = partial(peft_stepper, shape, place.made(), PEFT_ROWS)
        return timed(make, steps, shape.config, place)

    return part


def ragged(name: str, *, is_peft: bool) -> Part:
    """Chat rows of 60 to 512 tokens, half of them learned: ours packed, PEFT padded 4 at a time."""

    def part(place: Place) -> dict[str, Any]:
        shape = shape_named(name, is_tiny=place.is_tiny)
        n_rows = 4 if place.is_tiny else 80
        vocab = shape.config["vocab_size"]
        steps = [ragged_rows(n_rows, vocab, seed) for seed in range(_n_steps(place))]
        ours, peers = partial(our_stepper, shape), partial(peft_stepper, shape, rows_at_a_time=4)
        make = partial(peers if is_peft else ours, place.made())
        return timed(make, steps, shape.config, place)

    return part


def timed(
    make: Callable[[], Stepper],
    steps: Sequence[Sequence[EncodedRow]],
    config: dict[str, Any],
    place: Place,
) -> dict[str, Any]:
    """Load, warm up, run; rates over the timed steps and every loss and norm."""
    started = now(place)
    stepper = make()
    loaded = now(place) - started
    is_cuda = place.device.type == "cuda"
    if is_cuda:
        torch.cuda.reset_peak_memory_stats()
    seconds, found = [], []
    for rows in steps:
        started = now(place)
        found.append(stepper.step(rows))
        seconds.append(now(place) - started)
    n_warm = len(steps) - _n_timed(place)
    tokens = [sum(len(row) for row in rows) for rows in steps[n_warm:]]
    work = [
        useful_work(config, [len(r) for r in rows], sum(r.n_supervised for r in rows))
        for rows in steps[n_warm:]
    ]
    spent = seconds[n_warm:]
    flops = statistics.median(w / s for w, s in zip(work, spent, strict=True))
    return {
        "tokens_per_s": statistics.median(t / s for t, s in zip(tokens, spent, strict=True)),
        "flops": flops,
        "mfu_of_989": flops / H100_BF16,
        "seconds": seconds,
        "load_seconds": loaded,
        "losses": [loss for loss, _ in found],
        "gradient_norms": [norm for _, norm in found],
        "peak_bytes": torch.cuda.max_memory_allocated() if is_cuda else None,
        "reserved_bytes": torch.cuda.max_memory_reserved() if is_cuda else None,
        "notes": stepper.notes,
    }


def profile(name: str, copies: str | None) -> Part:
    """One step under torch's profiler: the kernels with the most time, launches and waits."""

    def part(place: Place) -> dict[str, Any]:
        shape = shape_named(name, is_tiny=place.is_tiny)
        stepper = our_stepper(shape, place.made(copies))
        steps = _full_steps(place, shape.config["vocab_size"])
        for rows in steps[:WARM_STEPS]:
            stepper.step(rows)
        activities = [torch.profiler.ProfilerActivity.CPU]
        if place.device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        started = now(place)
        with torch.profiler.profile(activities=activities) as run:
            stepper.step(steps[-1])
            taken = now(place) - started
        return {"wall_seconds": taken, "notes": stepper.notes, **_kernels(run.events())}

    return part


def _kernels(events: Any) -> dict[str, Any]:
    times: dict[str, tuple[float, int]] = {}
    calls: dict[str, int] = {}
    for event in events:
        is_device = "CUDA" in str(event.device_type)
        if is_device:
            spent, count = times.get(event.name, (0.0, 0))
            times[event.name] = (spent + event.device_time_total * 1e-6, count + 1)
        elif event.name.startswith("cu"):
            calls[event.name] = calls.get(event.name, 0) + 1
    busiest = sorted(times.items(), key=lambda item: -item[1][0])[:30]
    return {
        "device_seconds": sum(spent for spent, _ in times.values()),
        "launches": sum(count for name, (_, count) in times.items() if "mem" not in name.lower()),
        "runtime_calls": calls,
        "busiest": [[name[:120], spent, count] for name, (spent, count) in busiest],
    }


def _n_timed(place: Place) -> int:
    return 1 if place.is_tiny else TIMED_STEPS


def _n_steps(place: Place) -> int:
    return _n_timed(place) + (1 if place.is_tiny else WARM_STEPS)


def _full_steps(place: Place, vocab: int) -> list[list[EncodedRow]]:
    length = 64 if place.is_tiny else ROW_TOKENS
    n_rows = 2 if place.is_tiny else STEP_TOKENS // ROW_TOKENS
    return [_rows([length] * n_rows, vocab, seed) for seed in range(_n_steps(place))]


def _rows(lengths: Sequence[int], vocab: int, seed: int) -> list[EncodedRow]:
    generator = torch.Generator().manual_seed(seed)
    drawn = (torch.randint(vocab, (n,), generator=generator).tolist() for n in lengths)
    return [EncodedRow(tuple(ids), tuple(ids), line) for line, ids in enumerate(drawn, start=1)]
