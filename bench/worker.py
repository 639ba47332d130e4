"""One measured process: `worker.py VARIANT JOB.json` runs the steps and prints one JSON line.

`worker.py base JOB.json` writes the base that the others load.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from our_step import now, prepare_ours
from peer_step import prepare_peer
from rows import cut, ragged_rows
from shapes import DTYPES, shape_named, write_base
from starting_point import Prepared
from torch import nn
from variants import variant_named

from vox_populi.train.memory_peak import peak_memory_bytes
from vox_tensor.records import EncodedRow

WARM_LENGTH = 64


def main() -> None:
    """Do what the command line says."""
    name, job_path = sys.argv[1:]
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    if name == "base":
        write_base(shape_named(job["shape"]), Path(job["base"]), job["device"])
        return
    is_timed = name.endswith(TIMED)
    result = measure(name.removesuffix(TIMED), job, is_timed=is_timed)
    sys.stdout.write(json.dumps(result) + "\n")


TIMED = "+timed"
"""Behind a variant's name: dequantisations are timed, which costs time itself."""


def measure(name: str, job: dict[str, Any], *, is_timed: bool) -> dict[str, Any]:
    """Warm up, run the steps, say what they took."""
    device, shape = torch.device(job["device"]), shape_named(job["shape"])
    ready = prepare(name, job, is_timed=is_timed)
    rows = ragged_rows(job["rows_per_step"] * job["steps"], shape.config.vocab_size, 7)
    steps = [rows[i :: job["steps"]] for i in range(job["steps"])]
    # The second one touches all the memory that a full step needs for the first time.
    for warm_up in (cut(steps[0], WARM_LENGTH), max(steps, key=widest)):
        ready.step(warm_up)
    losses, seconds, dequantising = [], [], []
    for batch in steps:
        done = spent(ready)
        started = now(device)
        losses.append(ready.step(batch))
        seconds.append(now(device) - started)
        dequantising.append(spent(ready) - done)
    return {
        "variant": name,
        "losses": losses,
        "seconds": seconds,
        "dequantising": dequantising,
        "nf4_digest": ready.nf4_digest,
        "tokens": [sum(len(row) for row in batch) for batch in steps],
        "supervised": [sum(row.n_supervised for row in batch) for batch in steps],
        "peak_bytes": peak_memory_bytes(device),
        "gemm_flops": gemm_rate(device, DTYPES[shape.dtype]),
    }


def prepare(name: str, job: dict[str, Any], *, is_timed: bool) -> Prepared:
    """Load the base and attach adapters, the way of one side."""
    variant, shape = variant_named(name), shape_named(job["shape"])
    base, device = Path(job["base"]), torch.device(job["device"])
    if variant.is_ours:
        return prepare_ours(variant, shape, base, device, job, is_timed=is_timed)
    return prepare_peer(variant, shape, base, device, job)


def spent(ready: Prepared) -> float:
    """Seconds of all dequantisations so far."""
    return sum(ready.dequantising or ())


def widest(rows: Sequence[EncodedRow]) -> int:
    """Tokens that the padded loop computes, up to a factor."""
    return max(len(row) for row in rows)


def gemm_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating point operations a second of a 1024 x 4864 x 896 product (8192^3 on CUDA)."""
    m, n, k = (8192, 8192, 8192) if device.type == "cuda" else (1024, 4864, 896)
    a = torch.randn(m, k, device=device, dtype=dtype)
    b = torch.randn(n, k, device=device, dtype=dtype)
    times = []
    for _ in range(12):
        started = now(device)
        nn.functional.linear(a, b)
        times.append(now(device) - started)
    return 2.0 * m * n * k / statistics.median(times[2:])


if __name__ == "__main__":
    main()
