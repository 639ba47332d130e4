"""The peer's side: the loop most people write with PEFT on transformers, with or without NF4."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from shapes import DTYPES, Shape
from starting_point import (
    CLIP,
    RATE,
    SPEC,
    Prepared,
    block_modules,
    digest_of,
    initial_factors,
)
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from variants import Variant

from vox_tensor.records import IGNORE_INDEX, EncodedRow


def prepare_peer(
    variant: Variant, shape: Shape, base: Path, device: torch.device, job: dict[str, int]
) -> Prepared:
    """Right-padded batches and accumulation. Nothing is checkpointed, no norm is in f32."""
    dense, digest = load(variant, shape, base, device)
    config = LoraConfig(
        r=SPEC.rank,
        lora_alpha=int(SPEC.alpha),
        lora_dropout=0.0,
        target_modules=list(shape.targets),
        # What is in NF4 was turned when it was loaded.
        fan_in_fan_out=shape.config.model_type == "gpt2" and not variant.is_quantized,
        task_type="CAUSAL_LM",
    )
    model: Any = get_peft_model(dense, config)
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

    return Prepared(step, digest)


def load(
    variant: Variant, shape: Shape, base: Path, device: torch.device
) -> tuple[Any, str | None]:
    """From the saved folder, as a user would; the digest of what bitsandbytes made of it."""
    auto: Any = AutoModelForCausalLM
    dtype = DTYPES[shape.dtype]
    if not variant.is_quantized:
        return auto.from_pretrained(base, dtype=dtype).to(device), None
    settings = BitsAndBytesConfig(  # type: ignore[no-untyped-call]  # theirs, unannotated
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    threads = torch.get_num_threads()
    # The peer's mean of the block magnitudes depends on the number of threads; ours is one's.
    torch.set_num_threads(1)
    model = auto.from_pretrained(
        base, quantization_config=settings, dtype=dtype, device_map=str(device)
    )
    torch.set_num_threads(threads)
    parts = []
    for module in block_modules(base):
        weight = model.get_submodule(module.theirs).weight
        parts += [weight.data, weight.quant_state.absmax]
    return model, digest_of(parts)


def pad(rows: Sequence[EncodedRow], device: torch.device) -> dict[str, Tensor]:
    """Right-pad to the longest row of the batch."""
    width = max(len(row) for row in rows)

    def stack(values: list[tuple[int, ...]], filler: int) -> Tensor:
        padded = [list(v) + [filler] * (width - len(v)) for v in values]
        return torch.tensor(padded, device=device)

    return {
        "input_ids": stack([row.ids for row in rows], 0),
        "labels": stack([row.labels for row in rows], IGNORE_INDEX),
        "attention_mask": stack([(1,) * len(row) for row in rows], 0),
    }
