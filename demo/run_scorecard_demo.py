"""Two benchmark cycles with both backends on the embedded base, and the verdict on the LoRA lane.

    make scorecard        (or: .venv/bin/python demo/run_scorecard_demo.py [--output-dir DIR])

A cycle trains one run of each backend with a seed of its own on the same rows, answers the suite in
`demo/scorecard` with both, feeds errors back, and writes the KPIs. Two cycles are decided, then one
alone and one that was edited, neither of which can promote. The last line on stdout is one JSON
object: `verdict`, `one_cycle`, `edited`, `seconds`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from run_demo import prepare, vox, write

from vox_populi.hf.embedded import embedded_model_dir

SUITE = Path(__file__).resolve().parent / "scorecard" / "suite.yaml"
SEEDS = (1, 2)
TRAINING = "--rank 16 --alpha 32 --max-steps 40 --batch-size 8 --grad-accum 1 --lr 3e-3 --warmup 5"
WORDS = ("shift", "raise", "move", "push", "lift", "bump", "step", "grow")
OPERATIONS = (("add", "+"), ("subtract", "-"), ("multiply by", "*"))
NUMBERS = (2, 3, 4, 5, 7, 8, 9)


def main() -> None:
    """Run both cycles and decide."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, default=Path("scorecard-demo"))
    folder = parser.parse_args().output_dir
    started = time.perf_counter()
    prepare(folder)
    data = folder / "data"
    data.mkdir()
    write_rows(data / "train.jsonl")
    cycles = [cycle(folder, data, seed) for seed in SEEDS]

    write("\nDecide by both cycles:")
    verdict = decide(*cycles, "--output-dir", str(folder / "decision"))
    write("\nDecide by one cycle:")
    one = decide(cycles[0])
    write("\nDecide by two cycles, one of which was edited:")
    edited = decide(cycles[0], edited_copy(Path(cycles[1])))
    document = {
        "verdict": verdict["verdict"],
        "one_cycle": one["verdict"],
        "edited": edited["verdict"],
        "seconds": round(time.perf_counter() - started, 1),
    }
    write(f"\nPages: {folder}/cycle-*/cycle.html and {folder}/decision/decision.html")
    write(json.dumps(document))


def write_rows(file: Path) -> None:
    """Functions of one line; those that the suite asks for are not among them."""
    rows = [
        {
            "prompt": f"Write a Python function {word}_{number}(x) to {verb} {number}.",
            "response": f"def {word}_{number}(x):\n    return x {sign} {number}",
        }
        for word in WORDS
        for verb, sign in OPERATIONS
        for number in NUMBERS
        # One of three is left out: its combination of word and number is new to the model.
        if (WORDS.index(word) + number) % 3
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    file.write_text(text, encoding="utf-8")


def cycle(folder: Path, data: Path, seed: int) -> str:
    """Train both backends with a seed and measure them; return the folder of the cycle."""
    runs = {}
    for backend in ("lora", "qlora"):
        runs[backend] = str(folder / f"{backend}-{seed}")
        write(f"\nCycle {seed}: train --backend {backend}")
        where = ["--data-dir", str(data), "--output-dir", runs[backend]]
        # Named as a folder, it has one tokenizer for both backends.
        where += ["--model", str(embedded_model_dir()), "--tokenizer", "hf"]
        vox("train", "--backend", backend, *where, *TRAINING.split(), "--seed", str(seed))
    output = str(folder / f"cycle-{seed}")
    write(f"\nCycle {seed}: measure both")
    chosen = ["--lora-run", runs["lora"], "--qlora-run", runs["qlora"], "--output-dir", output]
    chosen += ["--model", str(embedded_model_dir()), "--run-code"]
    found = vox("scorecard", "run", "--suite", str(SUITE), *chosen)
    for condition in found["conditions"]:
        kpis = {name: round(rate["value"], 3) for name, rate in condition["kpis"].items()}
        write(f"  {condition['backend']} ({condition['lane']}): {json.dumps(kpis)}")
        if kpis["pass_at_1"] == 1:
            write("  every first answer was valid, so that none had to be repaired")
    return output


def decide(*arguments: str) -> dict[str, Any]:
    """Decide, whatever comes out, and show why."""
    command = [sys.executable, "-m", "vox_cli", "mens", "scorecard", "decide", *arguments]
    write(f"$ vox mens scorecard decide {' '.join(arguments)}")
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    document: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    write(f"  verdict: {document['verdict']}, exit code {done.returncode}")
    for reason in document["reasons"]:
        write(f"  {reason}")
    return document


def edited_copy(folder: Path) -> str:
    """A cycle in which somebody made the reference look worse."""
    copy = folder.with_name(f"{folder.name}-edited")
    shutil.copytree(folder, copy)
    file = copy / "cycle.json"
    raw = json.loads(file.read_text(encoding="utf-8"))
    (reference,) = (each for each in raw["conditions"] if each["backend"] == "qlora")
    reference["kpis"]["pass_at_1"]["value"] /= 2
    reference["events"][0].update(stalled=True)
    file.write_text(json.dumps(raw), encoding="utf-8")
    return str(copy)


if __name__ == "__main__":
    main()
