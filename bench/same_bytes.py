"""The demo's training and three tiny models on 1, 2 and 4 processes: the same bytes or not.

    python bench/same_bytes.py --folder /somewhere/with/room [--only demo-lora ...] [--demo-steps N]

Builds the corpus of `make demo` and trains on all of it, with its settings and its number of steps,
and on the tiny models of the tests: LoRA and QLoRA, the base whole in every process or divided,
with dropout and several passes per step. One run of each is stopped at its first checkpoint and
continued by another number of processes. Prints the first digits of each adapter's SHA-256. A run
that is complete is not repeated, so that this can be done in parts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from packages.vox_populi.tests.pipeline.conftest import LLAMA, ROWS, write_safetensors
from packages.vox_populi.tests.pipeline.test_shared_run import CONFIGS
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import parse_model_config
from vox_tensor.tokenizer import VoxTokenizer

CORPUS = "corpus pairs --from-python --max-rows 3500 --max-heldout-rows 240"
COMMON = "--device cpu --dropout 0.1 --micro-batches 4 --threads 1 --quiet"
DEMO = {
    "lora": "--rank 16 --epochs 1 --batch-size 16 --grad-accum 1 --lr 3e-3 --warmup 10",
    "qlora": "--rank 16 --max-steps 12 --batch-size 8 --grad-accum 1 --lr 3e-3 --warmup 2",
}
TINY = "--rank 4 --epochs 40 --batch-size 1 --grad-accum 4 --lr 5e-3 --seq-len 64"
ADAPTERS = ("model_final.bin", "candle_qlora_adapter.safetensors")
SECONDS_BETWEEN_LOOKS = 0.05


@dataclass(frozen=True, slots=True)
class Kind:
    """What is trained."""

    name: str
    settings: tuple[str, ...]

    def command(self, output: Path, processes: int, *more: str) -> list[str]:
        """The command line of one run."""
        return [
            *(sys.executable, "-m", "vox_cli", "mens", "train", *self.settings, *COMMON.split()),
            *("--output-dir", str(output), "--nproc", str(processes), *more),
        ]


def kinds(folder: Path, steps: int | None) -> Iterator[Kind]:
    """Everything that is trained, with its inputs in place."""
    corpus = folder / "corpus"
    if not corpus.is_dir():
        command = [sys.executable, "-m", "vox_cli", "mens", *CORPUS.split()]
        subprocess.run([*command, "--output-dir", str(corpus)], check=True)
    for backend, settings in DEMO.items():
        data = ("--data-dir", str(corpus), "--backend", backend)
        most = () if steps is None or backend == "qlora" else ("--max-steps", str(steps))
        yield Kind(f"demo-{backend}", (*data, *settings.split(), *most))
    (folder / "rows").mkdir(exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "rows" / "train.jsonl").write_text(text, encoding="utf-8")
    for family in CONFIGS:
        for backend in DEMO:
            data = ("--data-dir", str(folder / "rows"), "--backend", backend)
            base = ("--model", str(write_base(folder / family, family)))
            yield Kind(f"{family}-{backend}", (*data, *base, *TINY.split()))


def write_base(base: Path, family: str) -> Path:
    """A tiny model with random weights."""
    if not base.is_dir():
        base.mkdir()
        config = CONFIGS.get(family, LLAMA)
        (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
        keys = tensor_keys(parse_model_config(config, "config.json"))
        write_safetensors(base / "model.safetensors", keys, random.Random(1))
        VoxTokenizer().save(base / "tokenizer.json")
    return base


def trained(command: Sequence[str], output: Path) -> str:
    """Train unless that is done; the first digits of the adapter's digest."""
    if not (output / "training_manifest.json").is_file():
        subprocess.run([*command, "--force"], check=True, stdout=subprocess.DEVNULL)
    return digest(output)


def continued(kind: Kind, output: Path, first: int, then: int) -> str:
    """Stop a run at its first checkpoint and let another number of processes end it."""
    if not (output / "training_manifest.json").is_file():
        often = ("--checkpoint-every", "3")
        process = subprocess.Popen(
            kind.command(output, first, *often, "--force"), stdout=subprocess.DEVNULL
        )
        while process.poll() is None and not list(output.glob("checkpoints/step-*/state.json")):
            time.sleep(SECONDS_BETWEEN_LOOKS)
        # Not SIGINT: what a shell starts in the background ignores it.
        process.send_signal(signal.SIGTERM)
        stopped = process.wait()
        assert stopped == 128 + signal.SIGTERM, f"not stopped but ended with {stopped}"
        command = kind.command(output, then, *often, "--resume", "auto")
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return digest(output)


def digest(run: Path) -> str:
    """The first digits of the SHA-256 of a run's adapter."""
    (adapter,) = (run / name for name in ADAPTERS if (run / name).is_file())
    return hashlib.sha256(adapter.read_bytes()).hexdigest()[:16]


def runs_of(kind: Kind, folder: Path) -> Iterator[tuple[str, str]]:
    """Every run of a kind: how it was made, and its digest."""
    for processes in (1, 2, 4):
        for shard in ("never", "always") if processes > 1 else ("never",):
            name = f"{processes} processes, base {'whole' if shard == 'never' else 'divided'}"
            output = folder / "runs" / f"{kind.name}-{processes}-{shard}"
            yield name, trained(kind.command(output, processes, "--shard", shard), output)
    for first, then in ((4, 1), (1, 4)):
        output = folder / "runs" / f"{kind.name}-{first}-then-{then}"
        yield f"{first}, then {then} processes", continued(kind, output, first, then)


def main() -> None:
    """Train everything and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", nargs="+", help="Names such as demo-lora.")
    parser.add_argument("--demo-steps", type=int, help="Steps of demo-lora; without, an epoch.")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    differing = []
    for kind in kinds(asked.folder, asked.demo_steps):
        if asked.only and kind.name not in asked.only:
            continue
        found = set()
        for name, value in runs_of(kind, asked.folder):
            sys.stdout.write(f"{kind.name:12} {name:28} {value}\n")
            sys.stdout.flush()
            found.add(value)
        if len(found) != 1:
            differing.append(kind.name)
    sys.stdout.write(f"differing: {', '.join(differing) or 'none'}\n")
    sys.exit(bool(differing))


if __name__ == "__main__":
    main()
