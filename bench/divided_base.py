"""Peak memory of each process that trains on a base in NF4 which the processes hold together.

    python bench/divided_base.py --folder /somewhere/with/room --gib 6 --processes 2 4

Writes a base with random bf16 weights of about that size, if the folder has none yet, trains a step
on it with every number of processes, and prints the largest resident set of each process beside the
bound, which is the quantised base over the number of processes, plus the largest block made dense,
plus 512 MiB, and beside what `--dry-run` says. The resident set includes pages of libraries, which
processes share and the kernel can drop; what is the process's own, seen every 0.2 s, is printed as
well.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vox_populi.hf.keymap import TensorKey, adapter_modules, tensor_keys
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.plan.nf4_plan import packed_nf4_bytes
from vox_tensor.nf4_levels import Nf4Settings
from vox_tensor.tokenizer import VoxTokenizer

MIB, GIB = 2**20, 2**30
ALLOWED = 512 * MIB
SECONDS_BETWEEN_LOOKS = 0.2
SHAPE: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 32_000,
    "hidden_size": 3072,
    "num_attention_heads": 24,
    "num_key_value_heads": 8,
    "intermediate_size": 8192,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "eos_token_id": 2,
}
ROWS = [{"prompt": f"Count to {n}.", "response": "one two three"} for n in range(1, 9)]


def config_of(gib: float) -> dict[str, Any]:
    """As many layers as make a base of about that size in bf16."""
    one = parse_model_config({**SHAPE, "num_hidden_layers": 1}, "config.json")
    blocks = sum(prod(k.shape) for k in tensor_keys(one) if k.ours.startswith("blocks."))
    rest = sum(prod(k.shape) for k in tensor_keys(one)) - blocks
    layers = max(round((gib * GIB / 2 - rest) / blocks), 1)
    return {**SHAPE, "num_hidden_layers": layers}


def write_base(folder: Path, raw: dict[str, Any]) -> None:
    """A shard for each part of the model, written tensor by tensor."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: dict[str, list[TensorKey]] = {}
    for key in tensor_keys(parse_model_config(raw, "config.json")):
        name = "-".join(key.ours.split(".")[:2]) if key.ours.startswith("blocks.") else "rest"
        parts.setdefault(name, []).append(key)
    where = {key.theirs: f"{name}.safetensors" for name, keys in parts.items() for key in keys}
    for name, keys in parts.items():
        write_shard(folder / f"{name}.safetensors", keys)
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    VoxTokenizer().save(folder / "tokenizer.json")
    (folder / "config.json").write_text(json.dumps(raw), encoding="utf-8")


def write_shard(path: Path, keys: Sequence[TensorKey]) -> None:
    """Random weights, small enough that activations stay finite; norms are one."""
    header: dict[str, object] = {}
    end = 0
    for key in keys:
        start, end = end, end + 2 * prod(key.shape)
        header[key.theirs] = {
            "dtype": "BF16",
            "shape": list(key.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = torch.Generator().manual_seed(len(path.name))
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for key in keys:
            if "norm" in key.ours:
                values = torch.ones(key.shape)
            else:
                values = torch.randn(key.shape, generator=generator) * 0.02
            file.write(values.bfloat16().view(torch.uint8).numpy().data)


def sizes(config: ModelConfig) -> tuple[int, int]:
    """Bytes of the base as it is held, and of its largest block made dense.

    The linear layers of the blocks are in NF4, the rest in f32.
    """
    packed = {m.ours: m.in_features * m.out_features for m in adapter_modules(config)}
    packed.pop("lm_head", None)
    dense = sum(prod(key.shape) for key in tensor_keys(config)) - sum(packed.values())
    held = 4 * dense + sum(packed_nf4_bytes(n, Nf4Settings()) for n in packed.values())
    block = sum(prod(k.shape) for k in tensor_keys(config) if k.ours.startswith("blocks.0."))
    return held, 4 * block


def children(pid: int) -> Iterator[int]:
    """The processes that a process has started."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return
    yield from map(int, text.split())


def resident(pid: int) -> tuple[int, int]:
    """The largest resident set of a process so far, and what is its own now; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0, 0
    known = {line.split()[0]: line.split()[1] for line in lines if line.endswith("kB")}
    return int(known.get("VmHWM:", 0)) * 1024, int(known.get("RssAnon:", 0)) * 1024


class Asked(NamedTuple):
    """What is measured, whatever the number of processes."""

    folder: Path
    shard: str
    activations: str
    passes: int


def command_line(asked: Asked, processes: int) -> list[str]:
    """The command that is measured."""
    folder, passes = asked.folder, str(asked.passes * processes)
    return [
        *(sys.executable, "-m", "vox_cli", "mens", "train", "--backend", "qlora"),
        *("--model", str(folder / "base"), "--data-dir", str(folder / "data"), "--device", "cpu"),
        *("--output-dir", str(folder / "run"), "--force", "--max-steps", "1", "--threads", "1"),
        *("--batch-size", "1", "--grad-accum", passes, "--micro-batches", passes),
        # The tokens of each row: the plan then counts those of every pass.
        *("--seq-len", "44"),
        # What is trained, its exchange and what is kept of rows are other terms of the plan: as
        # little of them as can be.
        *("--rank", "2", "--activation-memory", asked.activations),
        *("--validation-split-ratio", "0", "--no-check-rows", "--shard", asked.shard),
        *("--nproc", str(processes)),
    ]


def planned(command: Sequence[str]) -> int:
    """What `--dry-run` says of the memory of a process."""
    found = subprocess.run([*command, "--dry-run", "--json"], check=True, stdout=subprocess.PIPE)
    total: int = json.loads(found.stdout)["memory_bytes"]["total"]
    return total


def measure(asked: Asked, processes: int) -> dict[str, object]:
    """Train and watch; what each process needed at most."""
    command = command_line(asked, processes)
    expected = planned(command)
    started = time.monotonic()
    process = subprocess.Popen([*command, "--quiet"], stdout=subprocess.DEVNULL)
    peaks: dict[int, tuple[int, int]] = {}
    while process.poll() is None:
        watched = [*children(process.pid)] if processes > 1 else [process.pid]
        for pid in watched:
            before, now = peaks.get(pid, (0, 0)), resident(pid)
            peaks[pid] = max(before[0], now[0]), max(before[1], now[1])
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return {
        "processes": processes,
        "shard": asked.shard,
        "activations": asked.activations,
        "passes": asked.passes,
        "exit_code": process.returncode,
        "seconds": round(time.monotonic() - started, 1),
        "planned_mib": round(expected / MIB),
        "peak_mib": sorted(round(peak / MIB) for peak, _ in peaks.values() if peak),
        "own_mib": sorted(round(own / MIB) for peak, own in peaks.values() if peak),
    }


def main() -> None:
    """Measure every number of processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--gib", type=float, default=6.0)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--shard", default="always")
    parser.add_argument("--activation-memory", default="full")
    parser.add_argument("--passes", type=int, default=1, help="of each process in the step")
    given = parser.parse_args()
    asked = Asked(given.folder, given.shard, given.activation_memory, given.passes)
    folder, raw = asked.folder, config_of(given.gib)
    if not (folder / "base" / "config.json").is_file():
        write_base(folder / "base", raw)
    (folder / "data").mkdir(exist_ok=True)
    rows = "".join(json.dumps(row) + "\n" for row in ROWS)
    (folder / "data" / "train.jsonl").write_text(rows, encoding="utf-8")
    held, block = sizes(parse_model_config(raw, "config.json"))
    sys.stdout.write(f"held {held / MIB:.0f} MiB, block {block / MIB:.0f} MiB\n")
    for processes in given.processes:
        found = measure(asked, processes)
        share = held / processes if asked.shard == "always" else held
        found["bound_mib"] = round((share + block + ALLOWED) / MIB)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
