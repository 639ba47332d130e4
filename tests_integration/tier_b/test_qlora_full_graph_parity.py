"""Tier B: the full QLoRA graph against the f32 graph on the dequantised weights.

NF4 rounding is done first, so both paths have the same weights, the same adapter and the same
tokens: what may differ is the order of a sum.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests_integration.tiny_models import GRAPH_CASES, VOCAB, write_tiny_model
from tests_integration.tolerances import (
    F32_GRAD,
    F32_LOGITS,
    F32_LOSS_SUM,
    assert_close_number,
    assert_parity,
    differs,
)
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.keymap import AdapterModule, ProjectionRole, adapter_modules
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.hf_load import load_base
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.nf4_load import load_nf4_base
from vox_tensor.collate import PackedBatch, collate_window
from vox_tensor.lora import LoraLinear
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4 import dequantize_nf4, quantize_nf4
from vox_tensor.nf4_levels import Nf4Settings
from vox_tensor.nf4_weight import DenseCopies, DensePool
from vox_tensor.records import IGNORE_INDEX, EncodedRow

SPEC = LoraSpec(rank=4, alpha=12.0)
SETTINGS = (
    Nf4Settings(block_size=64, double_quant=True),
    Nf4Settings(block_size=32, double_quant=False),
)
Adapted = dict[str, LoraLinear]


def draw_batch() -> PackedBatch:
    generator = torch.Generator().manual_seed(4)
    rows = []
    for line, length in enumerate((31, 12), start=1):
        ids = tuple(torch.randint(3, VOCAB, (length,), generator=generator).tolist())
        rows.append(EncodedRow(ids, (IGNORE_INDEX,) * 5 + ids[5:], line))
    return collate_window(rows)


def in_blocks(inventory: ModelInventory) -> list[AdapterModule]:
    modules = adapter_modules(inventory.config)
    return [m for m in modules if ProjectionRole.LM_HEAD not in m.roles]


def adapt(model: CausalGraph, inventory: ModelInventory) -> Adapted:
    """The same adapter on whatever model; B is not zero."""
    generator = torch.Generator().manual_seed(5)
    adapted = attach_adapters(model, in_blocks(inventory), SPEC, generator)
    for layer in adapted.values():
        nn.init.normal_(layer.b_OR, std=0.05, generator=generator)
    return adapted


def quantised(
    inventory: ModelInventory, settings: Nf4Settings, copies: DenseCopies = DenseCopies.NONE
) -> tuple[CausalGraph, Adapted]:
    pool = DensePool(copies)
    model = load_nf4_base(inventory, torch.float32, "cpu", settings, pool)
    return model, adapt(model, inventory)


def dequantised(inventory: ModelInventory, settings: Nf4Settings) -> tuple[CausalGraph, Adapted]:
    """The dense model whose block weights went through NF4 and back."""
    model = load_base(inventory, torch.float32)
    with torch.no_grad():
        for module in in_blocks(inventory):
            weight = model.get_parameter(f"{module.ours}.weight")
            rounded = quantize_nf4(
                weight, block_size=settings.block_size, double_quant=settings.double_quant
            )
            weight.copy_(dequantize_nf4(rounded))
    return model, adapt(model, inventory)


def gradients(adapted: Adapted) -> dict[str, Tensor]:
    found = {}
    for name, layer in adapted.items():
        for letter, parameter in (("A", layer.a_RI), ("B", layer.b_OR)):
            assert parameter.grad is not None, f"{name}.{letter}"
            found[f"{name}.{letter}"] = parameter.grad
    return found


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", GRAPH_CASES)
@pytest.mark.requirement("tier-b")
def test_full_graph_logits_equal_those_on_dequantised_weights(
    name: str, settings: Nf4Settings, tmp_path: Path
) -> None:
    write_tiny_model(tmp_path, name)
    inventory, batch = read_inventory(tmp_path), draw_batch()
    with torch.no_grad():
        actual = quantised(inventory, settings)[0].logits(batch)
        expected = dequantised(inventory, settings)[0].logits(batch)
        plain = load_base(inventory, torch.float32)
        assert_parity(actual, expected, F32_LOGITS)
        assert differs(actual, plain.logits(batch), F32_LOGITS), "NF4 and adapter must matter"
        adapt(plain, inventory)
        assert differs(actual, plain.logits(batch), F32_LOGITS), "NF4 alone must matter"


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", GRAPH_CASES)
@pytest.mark.requirement("tier-b")
def test_full_graph_gradients_equal_those_on_dequantised_weights(
    name: str, settings: Nf4Settings, tmp_path: Path
) -> None:
    write_tiny_model(tmp_path, name)
    inventory, batch = read_inventory(tmp_path), draw_batch()
    losses, grads = [], []
    for model, adapted in (quantised(inventory, settings), dequantised(inventory, settings)):
        loss = model.loss_sum(batch)
        loss.backward()
        losses.append(loss.item())
        grads.append(gradients(adapted))
    assert_close_number(losses[0], losses[1], F32_LOSS_SUM)
    assert grads[0].keys() == grads[1].keys()
    for key, actual in grads[0].items():
        assert_parity(actual, grads[1][key], F32_GRAD)
        assert differs(actual, torch.zeros_like(actual), F32_GRAD), f"{key} learns nothing"


@pytest.mark.parametrize("name", GRAPH_CASES)
def test_dense_copies_change_no_bit(name: str, tmp_path: Path) -> None:
    write_tiny_model(tmp_path, name)
    inventory, batch = read_inventory(tmp_path), draw_batch()
    results = []
    for copies in DenseCopies:
        model, adapted = quantised(inventory, SETTINGS[0], copies)
        losses = []
        for _ in range(2):
            loss = model.loss_sum(batch)
            loss.backward()
            losses.append(loss.detach())
        results.append((losses, gradients(adapted)))
    (losses, grads), *others = results
    assert torch.equal(losses[0], losses[1]), "the second pass has the same weights"
    assert all(torch.count_nonzero(grad) for grad in grads.values())
    for other_losses, other_grads in others:
        assert torch.equal(other_losses[0], losses[0])
        assert all(torch.equal(other_grads[key], grad) for key, grad in grads.items())
