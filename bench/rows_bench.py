"""Open ragged chat rows: ours beside `datasets.map`, with peak memory and the second start.

    .venv/bin/python bench/rows_bench.py --base MODEL --peer-python PYTHON [--rows N] [--masked]

The two take turns, each in processes of its own with the same number of cores, and start from empty
caches. Memory is the peak of the resident size of the process that was started, and of all its
processes together (proportional, every 0.1 s). CPU seconds are of all processes. `--file` opens
rows that `ragged_chats.py` wrote before. `--masked` has the peer find the learned tokens too, as we
do. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ragged_chats import write_chats

HERE = Path(__file__).resolve().parent
_INTERVAL = 0.1


def main() -> None:
    """Run all rounds; the last line on stdout is one JSON document."""
    options = parse_options()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        folder = Path(scratch)
        path = options.file
        if path is None:
            path = folder / "train.jsonl"
            write_chats(path, options.rows)
        results: list[dict[str, Any]] = []
        for number in range(options.rounds):
            sides = ["ours", "peer"] if number % 2 == 0 else ["peer", "ours"]
            for side in sides:
                if side == "peer" and options.peer_python is None:
                    continue
                cache = folder / f"{side}-{number}"
                for start in ("first", "second"):
                    found = measured(side, path, cache, options)
                    results.append({"side": side, "start": start, **found})
                    sys.stderr.write(json.dumps(results[-1]) + "\n")
                shutil.rmtree(cache)
    sys.stdout.write(json.dumps(results) + "\n")


def measured(side: str, path: Path, cache: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One start of one side."""
    python = sys.executable if side == "ours" else options.peer_python
    script = HERE / f"rows_{side}.py"
    command = [python, str(script), str(path), str(options.base), str(options.cores), str(cache)]
    command += ["masked"] if side == "peer" and options.masked else []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    started = time.perf_counter()
    with (cache.with_suffix(".log")).open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment)
    alone = together = 0
    while process.poll() is None:
        alone = max(alone, status_value(process.pid, "VmHWM"))
        together = max(together, sum(map(proportional_size, tree_of(process.pid))))
        time.sleep(_INTERVAL)
    seconds = time.perf_counter() - started
    assert process.stdout is not None
    lines = process.stdout.read().splitlines()
    if process.returncode:
        raise SystemExit(cache.with_suffix(".log").read_text(encoding="utf-8"))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    result: dict[str, Any] = json.loads(lines[-1])
    ids = result.pop("ids_of_row_7")
    return {
        **result,
        "ids_digest": hash(tuple(ids)),
        "process_seconds": round(seconds, 2),
        "cpu_seconds": round(
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2
        ),
        "peak_mib": alone >> 10,
        "peak_mib_together": together >> 10,
    }


def tree_of(pid: int) -> list[int]:
    """A process and all that it started."""
    found = [pid]
    for each in found:
        try:
            text = Path(f"/proc/{each}/task/{each}/children").read_text(encoding="ascii")
        except OSError:
            continue
        found += map(int, text.split())
    return found


def status_value(pid: int, name: str) -> int:
    """A size in KiB from a process's status."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def proportional_size(pid: int) -> int:
    """The proportional set size of a process in KiB."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--file", type=Path)
    parser.add_argument("--masked", action="store_true", help="The peer makes a mask as well.")
    parser.add_argument("--folder", type=Path, help="Folder for scratch files.")
    return parser.parse_args()


if __name__ == "__main__":
    main()
