"""Tier A: what a graph of transformers keeps of its blocks for the backward pass."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from tests_integration.foreign_models import foreign_settings, write_foreign_model
from tests_integration.tiny_models import VOCAB
from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.keymap import ProjectionRole, adapter_modules
from vox_populi.model.activation_memory import ActivationMemory, Activations, repeated
from vox_populi.model.hf_load import load_base
from vox_populi.model.kept_values import count_kept
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.packing_proof import measure_packing
from vox_tensor.collate import PackedBatch, collate_window
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import IGNORE_INDEX, EncodedRow

ROWS = (21, 4, 12)


def window(lengths: Sequence[int]) -> PackedBatch:
    generator = torch.Generator().manual_seed(4)
    rows = []
    for line, length in enumerate(lengths, start=1):
        ids = tuple(torch.randint(3, VOCAB, (length,), generator=generator).tolist())
        rows.append(EncodedRow(ids, (IGNORE_INDEX,) * 2 + ids[2:], line))
    return collate_window(rows)


def step(
    folder: Path, memory: ActivationMemory, lengths: Sequence[int] = ROWS, dropout: float = 0.2
) -> tuple[list[Tensor], int]:
    """Gradients of a step, and the bytes that its forward pass kept."""
    draws = torch.Generator().manual_seed(6)
    model = load_base(read_inventory(folder), torch.float32)
    modules = [m for m in adapter_modules(model.config) if ProjectionRole.LM_HEAD not in m.roles]
    spec = LoraSpec(rank=4, alpha=12.0, dropout=dropout)
    adapted = attach_adapters(model, modules, spec, draws, draws)
    model.activations = Activations(memory, (draws,))
    with torch.no_grad():
        for layer in adapted.values():
            layer.b_OR.normal_(std=0.05, generator=draws)
    fixed = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in fixed:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    # The hooks of a part that is repeated are inside of these.
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = model.train().loss_sum(window(lengths))
    n_bytes = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    kept.clear()
    loss.backward()
    found = [p.grad for layer in adapted.values() for p in (layer.a_RI, layer.b_OR)]
    return [grad for grad in found if grad is not None and grad.any()], n_bytes


@pytest.mark.parametrize("model_type", ["qwen3_5_text", "gpt_oss"])
def test_what_is_computed_again_is_what_was_there(model_type: str, tmp_path: Path) -> None:
    write_foreign_model(tmp_path, model_type, spread=0.4)
    modes = (ActivationMemory.NONE, ActivationMemory.SELECTIVE, ActivationMemory.FULL)
    (expected, everything), *again = (step(tmp_path, memory) for memory in modes)
    assert expected
    left = [n_bytes for _, n_bytes in again]
    assert everything > left[0] > left[1]
    for gradients, _ in again:
        assert all(map(torch.equal, gradients, expected))
        assert len(gradients) == len(expected)


def test_the_proof_finds_blocks_that_are_not_computed_again_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = foreign_settings("glm4")
    assert measure_packing(settings, "config.json").repeats

    def forgetful(part: Any, x_TD: Tensor, activations: Activations) -> Tensor:
        def other(x_TD: Tensor, *, is_repeat: bool = False) -> Tensor:
            made: Tensor = part(x_TD * 1.5 if is_repeat else x_TD, is_repeat=is_repeat)
            return made

        return repeated(other, x_TD, activations)

    monkeypatch.setattr("vox_populi.model.transformers_blocks.repeated", forgetful)
    assert not measure_packing(settings, "config.json").repeats


@pytest.mark.parametrize("model_type", ["qwen3_5_text", "gpt_oss", "glm4"])
def test_the_plan_knows_what_the_blocks_keep(model_type: str, tmp_path: Path) -> None:
    write_foreign_model(tmp_path, model_type, spread=0.4)
    raw = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    row = (64,)
    _, measured = step(tmp_path, ActivationMemory.NONE, row, dropout=0.0)
    counted = count_kept(raw, "config.json", "float32", *row)
    assert counted is not None
    outside = 2 * row[0] * raw["hidden_size"] * 4
    estimated = sum(block.whole for block in counted.blocks) + outside
    assert measured <= estimated <= 2 * measured
