"""Stop runs at random moments, resume them, and count how many end in the undisturbed run's bytes.

    python tests_integration/tier_c/kill_loop.py --kills 20 --signal KILL
    python tests_integration/tier_c/kill_loop.py --kills 20 --signal TERM
    python tests_integration/tier_c/kill_loop.py --every-step
    python tests_integration/tier_c/kill_loop.py --kills 10 --backend qlora
    python tests_integration/tier_c/kill_loop.py --kills 10 --backend adamw8bit

Each kill is of a process of its own, at a moment drawn over its training; then the same command
runs again with `--resume auto`. The run has dropout, accumulation and shuffling.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_LORA_FILES = ("model_final.bin", "training_manifest.json")
COMPARED = {
    "lora": _LORA_FILES,
    "lion": _LORA_FILES,
    "adamw8bit": _LORA_FILES,
    "qlora": (
        "candle_qlora_adapter.safetensors",
        "candle_qlora_adapter_meta.json",
        "populi_adapter_manifest_v3.json",
        "training_manifest.json",
    ),
}
"""What must be the same, byte for byte, by backend, or by optimizer of the LoRA backend."""
BACKENDS: Mapping[str, tuple[str, ...]] = {
    "lora": (),
    "lion": ("--optimizer", "lion"),
    "adamw8bit": ("--optimizer", "adamw8bit", "--rank", "64"),
    "qlora": ("--backend", "qlora", "--tokenizer", "hf"),
}
WORDS = ("red", "green", "blue", "one", "two", "three", "north", "south")
STEPS = 60
STEPS_OF_EVERY_STEP = 50
EXIT_CODES = {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}
_LONGEST_RUN_SECONDS = 300
_POLL_SECONDS = 0.005


@dataclass(slots=True)
class Tally:
    """How many rounds ended in the same bytes, and where the stops fell."""

    backend: str = "lora"
    equal: int = 0
    rounds: int = 0
    at_steps: list[int] = field(default_factory=list)
    """The newest checkpoint when a run was stopped; -1 where there was none yet."""
    wrong: list[str] = field(default_factory=list)

    def count(self, run: Path, expected: Path) -> None:
        """Compare a finished run with the undisturbed one."""
        self.rounds += 1
        differing = [
            name
            for name in COMPARED[self.backend]
            if (run / name).read_bytes() != (expected / name).read_bytes()
        ]
        if differing:
            self.wrong.append(f"{run.name}: {', '.join(differing)}")
        else:
            self.equal += 1


def write_rows(folder: Path) -> None:
    """A few short rows, of which every epoch has an order of its own."""
    folder.mkdir(parents=True)
    for name, count in (("train", 40), ("valid", 4)):
        rows = [
            {"prompt": f"Say {WORDS[i % 8]}.", "response": f"{WORDS[i % 8]} it is, {i}."}
            for i in range(count)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")


def command(folder: Path, run: Path, steps: int, *more: str) -> list[str]:
    """The command of a run: the embedded base, two passes a step, dropout."""
    settings = {
        "--data-dir": folder / "data",
        "--output-dir": run,
        "--max-steps": steps,
        "--epochs": 50,
        "--batch-size": 1,
        "--grad-accum": 2,
        "--rank": 4,
        "--dropout": 0.1,
        "--seq-len": 48,
        "--warmup": 5,
        "--lr": 1e-3,
        "--eval-every": 20,
        "--threads": 1,
        "--device": "cpu",
    }
    flat = [str(part) for pair in settings.items() for part in pair]
    return [sys.executable, "-m", "vox_cli", "mens", "train", *flat, "--quiet", *more]


def finish(argv: Sequence[str], run: Path | None = None) -> tuple[float, float]:
    """Run a command to its end.

    Returns:
        When its folder appeared and when it ended, in seconds.
    """
    started, begin = time.perf_counter(), 0.0
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, cwd=ROOT) as process:
        if run is not None:
            wait_for_folder(process, run)
            begin = time.perf_counter() - started
        code = process.wait(timeout=_LONGEST_RUN_SECONDS)
    if code != 0:
        raise subprocess.CalledProcessError(code, argv)
    return begin, time.perf_counter() - started


def wait_for_folder(process: subprocess.Popen[str] | subprocess.Popen[bytes], run: Path) -> None:
    """Return when the run's first file is there, or its process is not."""
    while process.poll() is None and not (run / "request.json").exists():
        time.sleep(_POLL_SECONDS)


def newest_step(run: Path) -> int:
    """The step of the newest checkpoint by name; -1 if there is none."""
    steps = [int(path.name[5:]) for path in run.glob("checkpoints/step-*")]
    return max(steps, default=-1)


def stop_and_go_on(
    folder: Path, kills: int, number: signal.Signals, seed: int = 0, backend: str = "lora"
) -> Tally:
    """Stop a run at so many random moments, a fresh run each time, and resume each."""
    write_rows(folder / "data")
    expected, flags = folder / "undisturbed", BACKENDS[backend]
    begin, end = finish(command(folder, expected, STEPS, *flags), expected)
    draw, tally = random.Random(seed), Tally(backend)
    more = (*flags, "--checkpoint-every", "3", "--resume", "auto")
    while tally.rounds < kills:
        run = folder / f"run-{tally.rounds}"
        argv = command(folder, run, STEPS, *more)
        if not stop_in(run, argv, draw.uniform(0, end - begin), number, tally):
            shutil.rmtree(run)
            continue
        tally.at_steps.append(newest_step(run))
        finish(argv)
        tally.count(run, expected)
        shutil.rmtree(run)
    return tally


def stop_in(
    run: Path, argv: Sequence[str], seconds: float, number: signal.Signals, tally: Tally
) -> bool:
    """Start a run and stop it so long after it began; returns whether it was still running."""
    with subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        wait_for_folder(process, run)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        _, errors = process.communicate(timeout=_LONGEST_RUN_SECONDS)
    if process.returncode == 0:
        return False
    # Before its handlers are in place, a signal ends the process as it ends any other.
    if process.returncode not in (EXIT_CODES[number], -number):
        tally.wrong.append(f"exit code {process.returncode}: {errors.strip()[-500:]}")
    return True


def resume_at_every_step(
    folder: Path, steps: int = STEPS_OF_EVERY_STEP, backend: str = "lora"
) -> Tally:
    """Keep a checkpoint of each step and resume from every one of them in a new folder."""
    write_rows(folder / "data")
    expected, tally, flags = folder / "undisturbed", Tally(backend), BACKENDS[backend]
    finish(command(folder, expected, steps, *flags))
    watched = folder / "watched"
    keep = (*flags, "--checkpoint-every", "1", "--keep-checkpoints", str(steps))
    finish(command(folder, watched, steps, *keep))
    for step in range(1, steps + 1):
        run = folder / f"from-{step}"
        source = watched / "checkpoints" / f"step-{step}"
        finish(command(folder, run, steps, *flags, "--resume", str(source)))
        tally.at_steps.append(step)
        tally.count(run, expected)
        shutil.rmtree(run)
    return tally


def main() -> int:
    """Run what the arguments ask for and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--signal", choices=("KILL", "TERM", "INT"), default="KILL")
    parser.add_argument("--every-step", action="store_true")
    parser.add_argument("--backend", choices=sorted(BACKENDS), default="lora")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vox-kill-") as name:
        if given.every_step:
            tally = resume_at_every_step(Path(name), backend=given.backend)
        else:
            number = signal.Signals[f"SIG{given.signal}"]
            tally = stop_and_go_on(Path(name), given.kills, number, given.seed, given.backend)
    result = {
        "backend": given.backend,
        "what": "every step" if given.every_step else f"SIG{given.signal}",
        "equal": tally.equal,
        "rounds": tally.rounds,
        "stopped_at": tally.at_steps,
        "wrong": tally.wrong,
    }
    sys.stdout.write(json.dumps(result) + "\n")
    return 0 if tally.equal == tally.rounds and not tally.wrong else 1


if __name__ == "__main__":
    raise SystemExit(main())
