"""Merge a synthetic sharded base of several gigabytes: memory, time beside a copy, same bytes.

    .venv/bin/python bench/merge_bench.py [--gigabytes 6] [--dtype bfloat16] [--rounds 3]

Copies (`cp -r`, then fsync of every file) and merges take turns, each in a process of its own.
Before each the base is read into the page cache, and nothing waits for the disk. The first copy
is not counted: on a virtual machine it pays for memory that the host has not lent yet. Every
round goes to stderr; the last line on stdout is one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.adapters.lora_bin import write_adapter_bin
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.training_text import ChatTemplate
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.inventory import base_digest, read_inventory
from vox_populi.hf.keymap import TensorKey, adapter_modules, tensor_keys
from vox_populi.hf.model_config import parse_model_config
from vox_tensor.lora_spec import LoraSpec

VOX = str(Path(sys.executable).parent / "vox")
RANK = 16
VOCABULARY = 32_000
SHAPES = {"bfloat16": (4096, 11_008), "float16": (4096, 11_008), "float32": (2048, 5632)}
"""Width and MLP width of the layers; their number follows from the size."""
SHARD_BYTES = 10**9
LAUNCHER = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps([time.perf_counter() - started, peak]))
"""
"""Linux counts what a process held before it became another one, so a small one must start it."""


def main() -> None:
    """Make the base once, then measure."""
    options = parse_options()
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        folder = Path(scratch)
        base, run = folder / "base", folder / "run"
        largest = write_base(base, options.gigabytes * 10**9, options.dtype)
        write_adapter(base, run)
        result = measure(folder, options.rounds)
    allowed = 3 * largest + 256 * 2**20
    result |= {
        "dtype": options.dtype,
        "largest_tensor_mib": round(largest / 2**20, 1),
        "allowed_peak_mib": round(allowed / 2**20, 1),
        "within_memory": result["merge_peak_mib"] * 2**20 <= allowed,
    }
    sys.stdout.write(json.dumps(result) + "\n")


def parse_options() -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=6)
    parser.add_argument("--dtype", choices=sorted(SHAPES), default="bfloat16")
    parser.add_argument("--folder", type=Path, help="where to work; the default is the system's")
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def write_base(base: Path, size: float, dtype_name: str, **changes: Any) -> int:
    """A Llama of about so many bytes with random weights; bytes of its largest tensor.

    Args:
        base: The folder to make.
        size: Bytes of the whole.
        dtype_name: Type of the weights.
        changes: Fields of the config, such as another type.
    """
    dtype: torch.dtype = getattr(torch, dtype_name)
    raw = config_of(size, dtype_name, dtype.itemsize) | changes
    base.mkdir()
    (base / "config.json").write_text(json.dumps(raw, indent=2), encoding="utf-8")
    shards = list(
        cut(tensor_keys(parse_model_config(raw, "config", GraphSource.AUTO)), dtype.itemsize)
    )
    generator = torch.Generator().manual_seed(0)
    noise = 0.02 * torch.randn(2**24, generator=generator)
    weight_map: dict[str, str] = {}
    for number, keys in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {key.theirs: fill(key, noise, number).to(dtype) for key in keys}
        save_file(tensors, base / name, {"format": "pt"})
        weight_map |= dict.fromkeys(tensors, name)
    index = {"metadata": {}, "weight_map": weight_map}
    (base / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return max(info.n_bytes for info in read_inventory(base).tensors.values())


def config_of(size: float, dtype: str, item: int) -> dict[str, Any]:
    """The `config.json` of a model of about so many bytes."""
    width, inner = SHAPES[dtype]
    layer = item * (4 * width * width + 3 * width * inner)
    tables = item * 2 * VOCABULARY * width
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": VOCABULARY,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": max(1, round((size - tables) / layer)),
        "num_attention_heads": width // 128,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "torch_dtype": dtype,
    }


def cut(keys: Sequence[TensorKey], item: int) -> Iterator[list[TensorKey]]:
    """The tensors of each file."""
    group: list[TensorKey] = []
    size = 0
    for key in keys:
        n_bytes = item * torch.Size(key.shape).numel()
        if group and size + n_bytes > SHARD_BYTES:
            yield group
            group, size = [], 0
        group.append(key)
        size += n_bytes
    yield group


def fill(key: TensorKey, noise: torch.Tensor, shift: int) -> torch.Tensor:
    """Numbers as a trained model has them; norms are near one."""
    count = torch.Size(key.shape).numel()
    values = noise.roll(shift).repeat(count // len(noise) + 1)[:count].view(key.shape)
    return 1.0 + values if "norm" in key.ours else values


def write_adapter(base: Path, run: Path) -> None:
    """Rank 16 on every projection of the blocks."""
    inventory = read_inventory(base)
    modules = [m for m in adapter_modules(inventory.config) if m.ours != "lm_head"]
    header = AdapterHeader(
        lora=LoraSpec(rank=RANK, alpha=2.0 * RANK),
        modules=tuple(AdaptedModule.of(module) for module in modules),
        base_name=base.name,
        base_digest=base_digest(inventory),
        model_type=inventory.config.model_type,
        tokenizer=TokenizerKind.HF,
        tokenizer_digest="sha256:0",
        template=ChatTemplate.CHATML,
        template_digest="sha256:0",
        system_prompt=None,
        seq_len=512,
        contract_digest="sha256:0",
        step=1,
    )
    generator = torch.Generator().manual_seed(1)
    tensors = {
        name: 0.01 * torch.randn(shape, generator=generator)
        for name, shape in header.tensor_shapes().items()
    }
    run.mkdir()
    write_adapter_bin(run / "model_final.bin", header, tensors)


def measure(folder: Path, rounds: int) -> dict[str, Any]:
    """Copies and merges in turn; the last merge runs on one thread."""
    base, output = folder / "base", folder / "merged"
    copies, merges, peaks, digests = [], [], [], []
    timed_copy(base, folder / "copy")
    for number in range(1, rounds + 1):
        copies.append(timed_copy(base, folder / "copy"))
        seconds, peak = timed_merge(folder, output, 2)
        merges.append(seconds)
        peaks.append(peak)
        digests.append(digest_of(output))
        shutil.rmtree(output)
        load = os.getloadavg()[0]
        sys.stderr.write(
            f"round {number}: copy {copies[-1]:.2f} s, merge {seconds:.2f} s, load {load:.1f}\n"
        )
    seconds, peak = timed_merge(folder, output, 1)
    digests.append(digest_of(output))
    return {
        "base_gb": round(sum(path.stat().st_size for path in base.iterdir()) / 1e9, 2),
        "copy_seconds": [round(each, 2) for each in copies],
        "merge_seconds": [round(each, 2) for each in merges],
        "merge_seconds_one_thread": round(seconds, 2),
        "merge_over_copy_by_round": [
            round(merge / copy, 2) for merge, copy in zip(merges, copies, strict=True)
        ],
        "merge_over_copy": round(statistics.median(merges) / statistics.median(copies), 2),
        "merge_peak_mib": round(max(*peaks, peak) / 2**20, 1),
        "same_bytes": len(set(digests)) == 1,
    }


def settle(base: Path) -> None:
    """The same start for everyone: the base in the page cache, nothing to be written."""
    os.sync()
    digest_of(base)


def timed_copy(base: Path, copy: Path) -> float:
    """`cp -r`, and every byte on the disk."""
    settle(base)
    started = time.perf_counter()
    subprocess.run(["cp", "-r", str(base), str(copy)], check=True)
    for path in (*copy.iterdir(), copy, copy.parent):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    seconds = time.perf_counter() - started
    shutil.rmtree(copy)
    return seconds


def timed_merge(folder: Path, output: Path, threads: int) -> tuple[float, int]:
    """Wall time of the whole command, and the most memory its process held."""
    settle(folder / "base")
    command = [VOX, "mens", "merge-weights", "--format", "hf", "--threads", str(threads)]
    command += ["--checkpoint", str(folder / "run"), "--model", str(folder / "base")]
    command += ["--output-dir", str(output), "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *command], check=True, capture_output=True, text=True
    )
    seconds, peak = json.loads(done.stdout)
    return seconds, peak * 1024


def digest_of(folder: Path) -> str:
    """Over names and contents of all files."""
    outer = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as file:
            inner = hashlib.file_digest(file, "sha256").hexdigest()
        outer.update(f"{path.name} {inner}\n".encode())
    return outer.hexdigest()


if __name__ == "__main__":
    main()
