"""The main job for real, on this machine: library sources to a corpus, corpus to an adapter.

    make demo            (or: .venv/bin/python demo/run_demo.py [--output-dir DIR])

Each step is one `vox` command, shown before it runs. The last line on stdout is one JSON
object: `heldout_loss_before`, `heldout_loss_after`, `seconds`, `run`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MARKER = ".vox-demo"
"""Says that a folder was made by this script, which may therefore replace it."""
CORPUS_ROWS, HELDOUT_ROWS = 3500, 240
TRAINING = "--rank 16 --epochs 1 --batch-size 16 --grad-accum 1 --lr 3e-3 --warmup 10"


def main() -> None:
    """Run every step; stop at the first that fails, with its exit code."""
    folder = parse_options().output_dir
    started = time.perf_counter()
    prepare(folder)
    corpus, run = folder / "corpus", folder / "run"

    say(1, "Build a corpus: docstring-to-function rows from this interpreter's standard library.")
    limits = ["--max-rows", str(CORPUS_ROWS), "--max-heldout-rows", str(HELDOUT_ROWS)]
    vox("corpus", "pairs", "--from-python", "--output-dir", str(corpus), *limits)

    say(2, "Look at one row as the trainer sees it: only the answer is learned.")
    show_preview(vox("preview", "--data", str(corpus / "train.jsonl"), "-n", "1"))

    prompt = heldout_prompt(corpus)
    say(3, "Ask the embedded base vox-nano about a function neither it nor the corpus has seen.")
    generate(prompt)

    say(4, "Train a LoRA adapter; the held-out rows come from modules that nothing was trained on.")
    report = vox("train", "--data-dir", str(corpus), "--output-dir", str(run), *TRAINING.split())

    say(5, "Ask again, with the adapter.")
    generate(prompt, "--run", str(run))
    finish(report, run, time.perf_counter() - started)


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, default=Path("demo-run"))
    return parser.parse_args()


def prepare(folder: Path) -> None:
    """Start from an empty folder; only an earlier demo's is removed."""
    if (folder / MARKER).is_file():
        shutil.rmtree(folder)
    elif folder.exists():
        sys.exit(f"error {folder} is there and no earlier demo made it. Pass --output-dir DIR.")
    folder.mkdir(parents=True)
    (folder / MARKER).touch()


def say(number: int, text: str) -> None:
    """Announce a step."""
    write(f"\n[{number}/5] {text}")


def write(text: str) -> None:
    """One line on stdout, at once: a child writes to the same terminal."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def vox(*arguments: str) -> dict[str, Any]:
    """Run `vox mens ...`, show it as typed, and return its JSON document."""
    write(f"$ vox mens {shlex.join(arguments)}")
    command = [sys.executable, "-m", "vox_cli", "mens", *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        write(done.stdout)
        sys.exit(done.returncode)
    document: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    for name, value in document.items():
        if name in SHOWN:
            write(f"  {name}: {value if isinstance(value, str) else json.dumps(value)}")
    return document


SHOWN = (
    "train_rows",
    "heldout_rows",
    "paths",
    "steps",
    "supervised_tokens",
    "train_loss",
    "tokens_per_second",
    "peak_memory_bytes",
    "artifacts",
    "stop_reason",
)
"""Fields of a command's JSON that are worth a line."""


def show_preview(row: dict[str, Any]) -> None:
    """Which part of a row is learned."""
    learned = sum(label != -100 for label in row["labels"])
    write(f"  line {row['source_line']}: {len(row['ids'])} tokens, {learned} of them learned")
    write(indent(row["text"]))


def heldout_prompt(corpus: Path) -> str:
    """A held-out row's prompt: the first with a short answer."""
    with (corpus / "valid.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    short = next(row for row in rows if len(row["response"]) < 300)
    prompt: str = short["prompt"]
    return prompt


def generate(prompt: str, *weights: str) -> None:
    """Continue the prompt and show the answer."""
    answer = vox("generate", "--prompt", prompt, "--max-new-tokens", "80", *weights)
    write(indent(answer["text"]))


def indent(text: str) -> str:
    """Set off what a model or a corpus says."""
    return "\n".join(f"    | {line}" for line in text.splitlines())


def finish(report: dict[str, Any], run: Path, seconds: float) -> None:
    """Say what came out; the JSON line is the last."""
    before, after = report["heldout_loss_before"], report["heldout_loss_after"]
    write(f"\nHeld-out loss {before:.4f} -> {after:.4f} ({100 * (after / before - 1):+.1f} %).")
    write(f"The adapter is {run / 'model_final.bin'}; what made it: {run / MANIFEST}.")
    result = {
        "heldout_loss_before": before,
        "heldout_loss_after": after,
        "seconds": round(seconds, 1),
        "run": str(run),
    }
    write(json.dumps(result))


MANIFEST = "training_manifest.json"


if __name__ == "__main__":
    main()
