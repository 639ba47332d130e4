"""The main job for real, on this machine: library sources to a corpus, corpus to an adapter.

    make demo            (or: .venv/bin/python demo/run_demo.py [--output-dir DIR])

Each step is one `vox` command, shown before it runs. The last line on stdout is one JSON
object: `heldout_loss_before`, `heldout_loss_after`, `seconds`, `run`, `merged`, `answers`, `qlora`.
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
WRITING = "--max-new-tokens 80 --repetition-penalty 1.2"
ANSWERED_ROWS = 24
TRAINING = "--rank 16 --epochs 1 --batch-size 16 --grad-accum 1 --lr 3e-3 --warmup 10"
QLORA_TRAINING = (
    "--backend qlora --rank 16 --max-steps 12 --batch-size 8 --grad-accum 1 --lr 3e-3 --warmup 2"
)
STEPS = 10


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

    say(3, "Ask the embedded base vox-nano about a function neither it nor the corpus has seen.")
    question = write_question(corpus, folder / "question.jsonl")
    generate(question)

    say(4, "Train a LoRA adapter; the held-out rows come from modules that nothing was trained on.")
    report = vox("train", "--data-dir", str(corpus), "--output-dir", str(run), *TRAINING.split())

    say(5, "Ask again, with the adapter. A model this small is no programmer; step 8 counts.")
    generate(question, str(run))

    merged = folder / "merged"
    say(6, "Fold the adapter into its base; the receipt compares the outputs of both.")
    vox_table("merge", str(run), "--output-dir", str(merged))

    say(7, "Ask the merged folder, which needs neither run nor base.")
    generate(question, "--model", str(merged))

    say(8, "Measure held-out rows before and after: loss, exact answers, answers that are Python.")
    rows = ["--data", str(corpus / "valid.jsonl"), "--generate", str(ANSWERED_ROWS)]
    measured = vox("eval", str(run), "--compare-base", *rows)
    show_measured(measured)

    qlora = qlora_leg(folder, corpus)
    finish(report, folder, measured, qlora, time.perf_counter() - started)


def qlora_leg(folder: Path, corpus: Path) -> dict[str, Any]:
    """The same on a base in four bits, for a few steps: adapter, and a merge onto either base."""
    run = folder / "run-qlora"
    say(9, "Train a QLoRA adapter for a few steps: the base's linear layers are in NF4.")
    where = ["--data-dir", str(corpus), "--output-dir", str(run)]
    report = vox("train", *where, *QLORA_TRAINING.split())

    say(10, "Merge it onto the rounded weights that it was trained on, and onto the original ones.")
    merged = {}
    for onto in ("dequant", "original"):
        merged[onto] = str(folder / f"merged-{onto}")
        vox_table("merge", str(run), "--onto", onto, "--output-dir", merged[onto])
    losses = {name: report[name] for name in ("heldout_loss_before", "heldout_loss_after")}
    return {**losses, "run": str(run), "merged": merged}


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
    write(f"\n[{number}/{STEPS}] {text}")


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
            write(f"  {name}: {shown(value)}")
    return document


def vox_table(*arguments: str) -> None:
    """Run `vox mens ...`, show it as typed, and let it print what it prints for people."""
    write(f"$ vox mens {shlex.join(arguments)}")
    command = [sys.executable, "-m", "vox_cli", "mens", *arguments]
    code = subprocess.run(command, check=False).returncode
    if code:
        sys.exit(code)


def shown(value: object) -> str:
    """A field for people."""
    if isinstance(value, float):
        return f"{value:,.4g}"
    return value if isinstance(value, str) else json.dumps(value)


SHOWN = (
    "train_rows",
    "heldout_rows",
    "paths",
    "steps",
    "supervised_tokens",
    "train_loss",
    "tokens_per_second",
    "peak_memory_bytes",
    "stop_reason",
)
"""Fields of a command's JSON that are worth a line."""


def show_preview(row: dict[str, Any]) -> None:
    """Which part of a row is learned."""
    learned = sum(label != -100 for label in row["labels"])
    write(f"  line {row['source_line']}: {len(row['ids'])} tokens, {learned} of them learned")
    write(indent(row["text"]))


def write_question(corpus: Path, path: Path) -> Path:
    """Put a held-out row's prompt into a file, and show it: the first with a short answer."""
    with (corpus / "valid.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    short = next(row for row in rows if len(row["response"]) < 300)
    path.write_text(json.dumps({"prompt": short["prompt"]}) + "\n", encoding="utf-8")
    write(f"{path}:\n" + indent(short["prompt"]))
    return path


def generate(question: Path, *weights: str) -> None:
    """Continue the prompt of a file and show the answer."""
    answer = vox("generate", *weights, "--prompts", str(question), *WRITING.split())
    write(indent(answer["text"]))


def indent(text: str) -> str:
    """Set off what a model or a corpus says."""
    return "\n".join(f"    | {line}" for line in text.splitlines())


def show_measured(measured: dict[str, Any]) -> None:
    """The totals of an evaluation and the largest sources that were answered, before and after."""
    lines = [("source", "rows", "loss", "exact", "Python")]
    pairs = list(zip(measured["base"]["sources"], measured["sources"], strict=True))
    pairs.sort(key=lambda pair: (pair[1]["answers"] is None, -pair[1]["rows"]))
    total = (measured["base"], {**measured, "source": "all rows"})
    for before, after in [*pairs[:3], total]:
        loss = f"{before['loss']:.4f} -> {after['loss']:.4f}"
        counts = (change_of(before, after, name) for name in ("exact", "python"))
        lines.append((after["source"], str(after["rows"]), loss, *counts))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        write("  " + "  ".join(cells).rstrip())


def change_of(before: dict[str, Any], after: dict[str, Any], name: str) -> str:
    """How many answers were so, before and after; a dash where no row was answered."""
    if after["answers"] is None:
        return "-"
    return f"{before['answers'][name]} -> {after['answers'][name]} of {after['answers']['rows']}"


def finish(
    report: dict[str, Any],
    folder: Path,
    measured: dict[str, Any],
    qlora: dict[str, Any],
    seconds: float,
) -> None:
    """Say what came out; the JSON line is the last."""
    run, answers = folder / "run", measured["answers"]
    before, after = report["heldout_loss_before"], report["heldout_loss_after"]
    write(f"\nHeld-out loss {before:.4f} -> {after:.4f} ({100 * (after / before - 1):+.1f} %).")
    python = change_of(measured["base"], measured, "python")
    write(f"Answers that are Python, base -> adapter: {python}.")
    write(f"The adapter is {run / 'model_final.bin'}; what made it: {run / MANIFEST}.")
    write(f"Talk to it: .venv/bin/vox mens generate --run {run} --interactive")
    write("Your own rows: docs/src/tutorial/first-adapter.md. The same results as JSON:")
    result = {
        "heldout_loss_before": before,
        "heldout_loss_after": after,
        "seconds": round(seconds, 1),
        "run": str(run),
        "merged": str(folder / "merged"),
        "answers": {name: answers[name] for name in ("rows", "exact", "python")},
        "qlora": qlora,
    }
    write(json.dumps(result))


MANIFEST = "training_manifest.json"


if __name__ == "__main__":
    main()
