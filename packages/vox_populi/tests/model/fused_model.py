"""Run in a process of its own: whole models with the fused kernels, interpreted on this CPU.

`TRITON_INTERPRET=1` must be set from the start of the process, so no test imports this file. Prints
one JSON object: for each family and way of keeping activations the largest difference from torch's
operations of the loss and of any gradient, over one plus the value, and which parts were asked for.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from vox_populi.hf.family_registry import FAMILIES
from vox_populi.hf.keymap import adapter_modules
from vox_populi.hf.model_config import parse_model_config
from vox_populi.model import head_rotation, norm, rotary, wide_norm
from vox_populi.model.activation_memory import ActivationMemory, Activations
from vox_populi.model.lora_transformer import adapter_parameters, attach_adapters
from vox_populi.model.transformer import Transformer
from vox_tensor import gated_mlp, head_loss
from vox_tensor.collate import collate_window
from vox_tensor.fused_parts import MODULE_OF, FusedPart
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import IGNORE_INDEX, EncodedRow

IDS = (1, 2, 3, 4, 5, 6)
ROWS = [EncodedRow(IDS, (IGNORE_INDEX, *IDS[1:])), EncodedRow((7, 8), (7, 8))]
WAYS = (
    ("gpt2", ActivationMemory.NONE),
    ("llama", ActivationMemory.FULL),
    ("olmo2", ActivationMemory.NONE),
    ("phi3", ActivationMemory.NONE),
    ("qwen3", ActivationMemory.NONE),
    ("qwen3", ActivationMemory.FULL),
)


@contextmanager
def kernels_on_the_cpu(asked: set[str]) -> Iterator[None]:
    """A block in which every module gets the kernels of the parts that it asks for."""

    def fused(part: FusedPart, x: Tensor) -> Any:
        del x
        asked.add(part.value)
        return import_module(f"vox_tensor.{MODULE_OF[part]}")

    with ExitStack() as stack:
        for module in (norm, wide_norm, rotary, head_rotation, gated_mlp, head_loss):
            stack.enter_context(mock.patch.object(module, "fused", fused))
        yield


def values(config: dict[str, Any], memory: ActivationMemory) -> list[Tensor]:
    """Losses with and without gradients, and the gradients of all factors."""
    torch.manual_seed(0)
    model = Transformer(parse_model_config({**config, "vocab_size": 24}, "test"))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    model.tie_head()
    draws = torch.Generator().manual_seed(3)
    spec = LoraSpec(rank=2, dropout=0.2)
    adapted = attach_adapters(model, adapter_modules(model.config), spec, draws, draws)
    for layer in adapted.values():
        nn.init.normal_(layer.b_OR, generator=draws)
    model.activations = Activations(memory, (draws,))
    batch = collate_window(ROWS)
    loss = model.train().loss_sum(batch)
    loss.backward()
    with torch.no_grad():
        alone = model.eval().loss_sum(batch)
    grads = [p.grad for p in adapter_parameters(adapted).values()]
    assert all(grad is not None for grad in grads)
    return [loss.detach(), alone, *(grad for grad in grads if grad is not None)]


def main() -> None:
    """Compare families that differ in what they ask for."""
    tiny = {family.name: dict(family.tiny) for family in FAMILIES}
    result = {}
    for name, memory in WAYS:
        config = tiny[name]
        expected = values(config, memory)
        asked: set[str] = set()
        with kernels_on_the_cpu(asked):
            found = values(config, memory)
        pairs = zip(found, expected, strict=True)
        apart = max(float(((a - b).abs() / (1 + b.abs())).max()) for a, b in pairs)
        result[f"{name}, {memory.value}"] = {"apart": apart, "asked": sorted(asked)}
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
