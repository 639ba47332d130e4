"""How much faster two processes train than one, on the cores of this machine.

    .venv/bin/python bench/processes_bench.py --model FOLDER --folder DIR [--rounds N] [--steps N]

The same rows in the same micro-batches by one process with one thread, by one with two threads, and
by two with one thread each, in turns. Reported: the median seconds of a step, from the telemetry,
over all rounds, without the first two steps of a run, and the speed-up over the first. The adapters
must be the same bytes where the number of threads is the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from statistics import median

from ragged_chats import write_chats

WAYS = {"1 process, 1 thread": (1, 1), "1 process, 2 threads": (1, 2), "2 processes": (2, 1)}
WARM_STEPS = 2
ROWS = 400
SETTINGS = (
    "--rank 16 --batch-size 8 --grad-accum 1 --micro-batches 2 --seq-len 512 --lr 1e-4 --warmup 1"
    " --device cpu --eval-every 1000 --on-bad-row skip --quiet --force"
)


def main() -> None:
    """Train in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8)
    asked = parser.parse_args()
    data = asked.folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    for name, count, seed in (("train", ROWS, 1), ("valid", 4, 2)):
        write_chats(data / f"{name}.jsonl", count, seed)
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    adapters: dict[int, set[bytes]] = {}
    for _ in range(asked.rounds):
        for name, (processes, threads) in WAYS.items():
            run = asked.folder / "run"
            command = [sys.executable, "-m", "vox_cli", "mens", "train", *SETTINGS.split()]
            command += ["--data-dir", str(data), "--model", str(asked.model)]
            command += ["--output-dir", str(run), "--max-steps", str(asked.steps)]
            command += ["--nproc", str(processes), "--threads", str(threads)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name] += seconds_of_steps(run)
            adapters.setdefault(threads, set()).add((run / "model_final.bin").read_bytes())
    first = median(next(iter(seconds.values())))
    sys.stdout.write("| | s a step | speed-up |\n|---|---|---|\n")
    for name, found in seconds.items():
        sys.stdout.write(f"| {name} | {median(found):.2f} | {first / median(found):.2f} |\n")
    equal = all(len(each) == 1 for each in adapters.values())
    sys.stdout.write(f"adapters of as many threads: {'the same bytes' if equal else 'DIFFERENT'}\n")
    sys.exit(not equal)


def seconds_of_steps(run: Path) -> list[float]:
    """The seconds from each step's end to the next one's, without those of warming up."""
    lines = (run / "telemetry.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    ends = [event["ts_ms"] / 1e3 for event in events if event["event"] == "step"]
    return [later - before for before, later in pairwise(ends[WARM_STEPS - 1 :])]


if __name__ == "__main__":
    main()
