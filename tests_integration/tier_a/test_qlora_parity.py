"""Tier A: the full QLoRA graph against transformers, bitsandbytes and PEFT, from our own folder.

`vox mens quantize` writes the folder, transformers and bitsandbytes load it packed as it is, PEFT
adapts their layers. Widths are multiples of the block size: on the CPU, bitsandbytes 0.50.2
starts a new block with every row of a matrix, and so reads its own packed weights wrongly where
rows and blocks do not line up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM

from tests_integration.tiny_models import CONFIGS, PLAIN_CASES, VOCAB
from tests_integration.tolerances import (
    F32_GRAD,
    F32_LOGITS,
    F32_LOSS_SUM,
    assert_parity,
    differs,
)
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.keymap import AdapterModule, ProjectionRole, adapter_modules
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.nf4_load import load_nf4_base
from vox_populi.pipeline.quantize import QuantizeRequest, quantize_model
from vox_tensor.collate import collate_window
from vox_tensor.lora import LoraLinear
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4_levels import Nf4Settings
from vox_tensor.nf4_weight import DensePool
from vox_tensor.records import IGNORE_INDEX, EncodedRow

pytest.importorskip("bitsandbytes", reason="the peer to compare with")

SPEC = LoraSpec(rank=4, alpha=12.0)
WIDTH, INNER, HEADS = 64, 128, 4
Adapted = dict[str, LoraLinear]


def wide_config(name: str) -> Any:
    """A family's tiny config at widths that blocks of 64 divide."""
    config: Any = CONFIGS[name]()
    if name == "gpt2":
        config.n_embd = WIDTH
        return config
    config.hidden_size, config.intermediate_size = WIDTH, INNER
    config.head_dim = WIDTH // HEADS
    if name == "granitemoehybrid":
        config.shared_intermediate_size = INNER
        # Its class asks for coherent Mamba layers even where there are none.
        config.mamba_d_head = config.mamba_expand * WIDTH // config.mamba_n_heads
    # Two key/value heads of 16 give k and v 32 rows of 64 values.
    return config


def write_base(folder: Path, name: str) -> None:
    auto: Any = AutoModelForCausalLM
    model = auto.from_config(wide_config(name), dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    # Gemma stores what its norms have more than one.
    norm_mean = 0.0 if name.startswith("gemma") else 1.0
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(noise / WIDTH**0.5)
            else:
                parameter.copy_((norm_mean if key.endswith(".weight") else 0.0) + 0.2 * noise)
    model.save_pretrained(folder)


def draw_rows() -> list[EncodedRow]:
    generator = torch.Generator().manual_seed(4)
    rows = []
    for line, length in enumerate((31, 12), start=1):
        ids = tuple(torch.randint(3, VOCAB, (length,), generator=generator).tolist())
        rows.append(EncodedRow(ids, (IGNORE_INDEX,) * 5 + ids[5:], line))
    return rows


def block_modules(inventory: ModelInventory) -> list[AdapterModule]:
    modules = adapter_modules(inventory.config)
    return [m for m in modules if ProjectionRole.LM_HEAD not in m.roles]


def our_model(folder: Path) -> tuple[CausalGraph, Adapted]:
    inventory = read_inventory(folder, allow_nf4=True)
    assert inventory.nf4, "nothing may be quantised again here"
    model = load_nf4_base(inventory, torch.float32, "cpu", Nf4Settings(), DensePool())
    generator = torch.Generator().manual_seed(5)
    adapted = attach_adapters(model, block_modules(inventory), SPEC, generator)
    for layer in adapted.values():
        nn.init.normal_(layer.b_OR, std=0.05, generator=generator)
    return model, adapted


def their_model(folder: Path, adapted: Adapted) -> Any:
    auto: Any = AutoModelForCausalLM
    base = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    modules = block_modules(read_inventory(folder, allow_nf4=True))
    config = LoraConfig(
        r=SPEC.rank,
        lora_alpha=int(SPEC.alpha),
        lora_dropout=0.0,
        target_modules=[m.theirs for m in modules],
        task_type="CAUSAL_LM",
    )
    model: Any = get_peft_model(base, config)
    with torch.no_grad():
        for m in modules:
            layer = model.base_model.model.get_submodule(m.theirs)
            assert type(layer.base_layer).__name__ == "Linear4bit"
            # In evaluation mode it computes in bf16 on a CPU that can, whatever it was told.
            layer.base_layer.train()
            layer.lora_A["default"].weight.copy_(adapted[m.ours].a_RI)
            layer.lora_B["default"].weight.copy_(adapted[m.ours].b_OR)
    return model


@pytest.mark.parametrize("double_quant", [True, False], ids=["double", "single"])
@pytest.mark.parametrize("name", PLAIN_CASES)
@pytest.mark.requirement("tier-a")
def test_qlora_logits_loss_and_gradients_match_transformers_bitsandbytes_and_peft(
    name: str, tmp_path: Path, *, double_quant: bool
) -> None:
    write_base(tmp_path / "base", name)
    packed = tmp_path / "packed"
    quantize_model(
        QuantizeRequest(model_dir=tmp_path / "base", output=packed, double_quant=double_quant)
    )
    ours, adapted = our_model(packed)
    theirs = their_model(packed, adapted)
    rows = draw_rows()
    batch = collate_window(rows)

    with torch.no_grad():
        logits = ours.logits(batch)
        expected = torch.cat([theirs(torch.tensor([row.ids])).logits[0] for row in rows])
        with theirs.disable_adapter():
            bare = torch.cat([theirs(torch.tensor([row.ids])).logits[0] for row in rows])
    assert_parity(logits, expected, F32_LOGITS)
    assert differs(bare, expected, F32_LOGITS), "the adapter must change something"

    loss = ours.loss_sum(batch)
    loss.backward()
    their_loss = sum(
        theirs(torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss * row.n_supervised
        for row in rows
    )
    assert isinstance(their_loss, torch.Tensor)
    their_loss.backward()
    assert_parity(loss.detach(), their_loss.detach(), F32_LOSS_SUM)
    for m in block_modules(read_inventory(packed, allow_nf4=True)):
        layer = theirs.base_model.model.get_submodule(m.theirs)
        mine = adapted[m.ours]
        for own, other in ((mine.a_RI, layer.lora_A), (mine.b_OR, layer.lora_B)):
            assert own.grad is not None
            assert differs(own.grad, torch.zeros_like(own), F32_GRAD)
            assert_parity(own.grad, other["default"].weight.grad, F32_GRAD)
