"""Tier A: whole adapted models against PEFT on the same weights, loss and gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from peft import LoraConfig, get_peft_model

from packages.vox_populi.tests.merged_transformer import merged_transformer
from tests_integration.tiny_models import FAMILY_CASES, VOCAB, write_tiny_model
from tests_integration.tolerances import F32_GRAD, F32_LOSS_SUM, F32_MERGED, assert_parity, differs
from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.keymap import AdapterModule, ProjectionRole, adapter_modules
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.hf_load import load_base
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.transformer import Transformer
from vox_tensor.collate import collate_window
from vox_tensor.lora import LoraLinear
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import IGNORE_INDEX, EncodedRow

SPEC = LoraSpec(rank=4, alpha=12.0)


def draw_rows() -> list[EncodedRow]:
    generator = torch.Generator().manual_seed(4)
    rows = []
    for line, length in enumerate((31, 12), start=1):
        ids = tuple(torch.randint(3, VOCAB, (length,), generator=generator).tolist())
        rows.append(EncodedRow(ids, (IGNORE_INDEX,) * 5 + ids[5:], line))
    return rows


def block_modules(folder: Path) -> list[AdapterModule]:
    """All but the head; of a mixture attention alone: PEFT takes `gate_proj` for the experts'."""
    config = read_inventory(folder).config
    modules = [m for m in adapter_modules(config) if ProjectionRole.LM_HEAD not in m.roles]
    return modules if config.experts is None else [m for m in modules if ".attn." in m.ours]


def our_model(folder: Path) -> tuple[CausalGraph, dict[str, LoraLinear]]:
    model = load_base(read_inventory(folder), torch.float32)
    generator = torch.Generator().manual_seed(5)
    adapted = attach_adapters(model, block_modules(folder), SPEC, generator)
    with torch.no_grad():
        for layer in adapted.values():
            layer.b_OR.normal_(std=0.05, generator=generator)
    return model, adapted


def peft_model(base: Any, folder: Path, adapted: dict[str, LoraLinear]) -> Any:
    modules = block_modules(folder)
    config = LoraConfig(
        r=SPEC.rank,
        lora_alpha=int(SPEC.alpha),
        lora_dropout=0.0,
        target_modules=[m.theirs for m in modules],
        fan_in_fan_out=any(m.fan_in_fan_out for m in modules),
        task_type="CAUSAL_LM",
    )
    model: Any = get_peft_model(base, config)
    with torch.no_grad():
        for m in modules:
            layer = model.base_model.model.get_submodule(m.theirs)
            layer.lora_A["default"].weight.copy_(adapted[m.ours].a_RI)
            layer.lora_B["default"].weight.copy_(adapted[m.ours].b_OR)
    return model


@pytest.mark.parametrize("name", [*FAMILY_CASES, "phi3_longrope", "phi3_sliding"])
@pytest.mark.requirement("tier-a")
def test_loss_and_adapter_gradients_match_peft(name: str, tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path, name)
    ours, adapted = our_model(tmp_path)
    theirs = peft_model(base, tmp_path, adapted)
    rows = draw_rows()

    loss = ours.loss_sum(collate_window(rows))
    loss.backward()
    expected = sum(
        theirs(torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss * row.n_supervised
        for row in rows
    )
    assert isinstance(expected, torch.Tensor)
    expected.backward()

    assert_parity(loss.detach(), expected.detach(), F32_LOSS_SUM)
    for m in block_modules(tmp_path):
        layer = theirs.base_model.model.get_submodule(m.theirs)
        mine = adapted[m.ours]
        for own, other in ((mine.a_RI, layer.lora_A), (mine.b_OR, layer.lora_B)):
            assert own.grad is not None
            assert differs(own.grad, torch.zeros_like(own), F32_GRAD)
            assert_parity(own.grad, other["default"].weight.grad, F32_GRAD)
    assert all(
        p.grad is None for n, p in ours.named_parameters() if "_RI" not in n and "_OR" not in n
    )


@pytest.mark.parametrize("name", FAMILY_CASES)
def test_merging_folds_the_adapter_in_exactly(name: str, tmp_path: Path) -> None:
    write_tiny_model(tmp_path, name)
    base = load_base(read_inventory(tmp_path), torch.float32)
    model, _ = our_model(tmp_path)
    batch = collate_window(draw_rows())
    with torch.no_grad():
        adapted = model.logits(batch)
        assert differs(adapted, base.logits(batch), F32_MERGED), "the adapter must change something"
        merged = merged_transformer(cast(Transformer, model))
        assert_parity(merged.logits(batch), adapted, F32_MERGED)
        assert torch.equal(model.logits(batch), adapted), "merging must not change the model"
