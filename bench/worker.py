"""One measured process: `worker.py ours|peft JOB.json` runs the steps and prints one JSON line."""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from rows import cut, ragged_rows
from shapes import DTYPES, Shape, shapes_for
from torch import nn
from transformers import AutoModelForCausalLM

from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.keymap import AdapterModule, ProjectionRole, adapter_modules
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.model.hf_load import load_base
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.train.allocator import keep_freed_memory
from vox_populi.train.batches import pack_batches
from vox_populi.train.memory_peak import peak_memory_bytes
from vox_populi.train.optimizer import AdamW, clip_gradients
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import IGNORE_INDEX, EncodedRow

RATE, CLIP = 2e-4, 1.0
SPEC = LoraSpec(rank=16, alpha=32.0)
WARM_LENGTH = 64

Step = Callable[[Sequence[EncodedRow]], float]


def main() -> None:
    """Warm up, run the steps, print what they took."""
    variant, job_path = sys.argv[1:]
    job = json.loads(Path(job_path).read_text(encoding="utf-8"))
    torch.set_num_threads(job["threads"])
    device = torch.device(job["device"])
    shape = next(s for s in shapes_for(job["device"]) if s.name == job["shape"])
    step = (ours if variant == "ours" else plain_peft)(shape, Path(job["base"]), device, job)
    rows = ragged_rows(job["rows_per_step"] * job["steps"], shape.config.vocab_size, 7)
    steps = [rows[i :: job["steps"]] for i in range(job["steps"])]
    # The second one touches all the memory that a full step needs for the first time.
    for warm_up in (cut(steps[0], WARM_LENGTH), max(steps, key=widest)):
        step(warm_up)
    losses, seconds = [], []
    for batch in steps:
        started = now(device)
        losses.append(step(batch))
        seconds.append(now(device) - started)
    result = {
        "variant": variant,
        "losses": losses,
        "seconds": seconds,
        "tokens": [sum(len(row) for row in batch) for batch in steps],
        "supervised": [sum(row.n_supervised for row in batch) for batch in steps],
        "peak_bytes": peak_memory_bytes(device),
        "gemm_flops": gemm_rate(device, DTYPES[shape.dtype]),
    }
    sys.stdout.write(json.dumps(result) + "\n")


def widest(rows: Sequence[EncodedRow]) -> int:
    """Tokens that the padded loop computes, up to a factor."""
    return max(len(row) for row in rows)


def now(device: torch.device) -> float:
    """Clock that waits for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def gemm_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Floating point operations a second of a 1024 x 4864 x 896 product (8192^3 on CUDA)."""
    m, n, k = (8192, 8192, 8192) if device.type == "cuda" else (1024, 4864, 896)
    a = torch.randn(m, k, device=device, dtype=dtype)
    b = torch.randn(n, k, device=device, dtype=dtype)
    times = []
    for _ in range(12):
        started = now(device)
        nn.functional.linear(a, b)
        times.append(now(device) - started)
    return 2.0 * m * n * k / statistics.median(times[2:])


def block_modules(base: Path) -> list[AdapterModule]:
    """Every linear layer of the blocks, in forward order."""
    modules = adapter_modules(read_inventory(base).config)
    return [m for m in modules if ProjectionRole.LM_HEAD not in m.roles]


def initial_factors(base: Path) -> dict[str, torch.Tensor]:
    """The A of every adapted module by its Hugging Face path: both variants start from it."""
    generator = torch.Generator().manual_seed(1)
    return {
        m.theirs: torch.empty(SPEC.rank, m.in_features).uniform_(-0.03, 0.03, generator=generator)
        for m in block_modules(base)
    }


def ours(shape: Shape, base: Path, device: torch.device, job: dict[str, int]) -> Step:
    """The step of `vox mens train`: packed rows, supervised-only head, fused LoRA functions."""
    keep_freed_memory()
    inventory = read_inventory(base)
    model = load_base(inventory, DTYPES[shape.dtype], device)
    modules = block_modules(base)
    adapted = attach_adapters(model, modules, SPEC)
    with torch.no_grad():
        for module, start in zip(modules, initial_factors(base).values(), strict=True):
            adapted[module.ours].a_RI.copy_(start)
    objective = AdaptedObjective(model, adapted)
    parameters = list(objective.parameters())
    optimizer = AdamW(parameters, weight_decay=0.0)
    objective.set_training(active=True)

    def step(rows: Sequence[EncodedRow]) -> float:
        optimizer.forget_gradients()
        count = sum(row.n_supervised for row in rows)
        total = 0.0
        for batch in pack_batches(rows, job["window_tokens"], device):
            loss = objective.loss_sum(batch) / count
            loss.backward()
            total += loss.item()
        clip_gradients(parameters, CLIP)
        optimizer.step(RATE)
        return total

    return step


def plain_peft(shape: Shape, base: Path, device: torch.device, job: dict[str, int]) -> Step:
    """The loop most people write: PEFT on transformers, right-padded batches, accumulation."""
    auto: Any = AutoModelForCausalLM
    model: Any = auto.from_pretrained(base, dtype=DTYPES[shape.dtype]).to(device)
    config = LoraConfig(
        r=SPEC.rank,
        lora_alpha=int(SPEC.alpha),
        lora_dropout=0.0,
        target_modules=list(shape.targets),
        fan_in_fan_out=shape.config.model_type == "gpt2",
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, config)
    with torch.no_grad():
        for name, start in initial_factors(base).items():
            layer = model.base_model.model.get_submodule(name)
            layer.lora_A["default"].weight.copy_(start)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=RATE, weight_decay=0.0)
    model.train()
    gc.collect()

    def step(rows: Sequence[EncodedRow]) -> float:
        optimizer.zero_grad(set_to_none=True)
        count = sum(row.n_supervised for row in rows)
        total = 0.0
        for start in range(0, len(rows), job["peer_batch"]):
            inputs = pad(rows[start : start + job["peer_batch"]], device)
            loss = model(**inputs, num_items_in_batch=count, use_cache=False).loss
            loss.backward()
            total += loss.item()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        return total

    return step


def pad(rows: Sequence[EncodedRow], device: torch.device) -> dict[str, torch.Tensor]:
    """Right-pad to the longest row of the batch."""
    width = max(len(row) for row in rows)

    def stack(values: list[tuple[int, ...]], filler: int) -> torch.Tensor:
        padded = [list(v) + [filler] * (width - len(v)) for v in values]
        return torch.tensor(padded, device=device)

    return {
        "input_ids": stack([row.ids for row in rows], 0),
        "labels": stack([row.labels for row in rows], IGNORE_INDEX),
        "attention_mask": stack([(1,) * len(row) for row in rows], 0),
    }


if __name__ == "__main__":
    main()
