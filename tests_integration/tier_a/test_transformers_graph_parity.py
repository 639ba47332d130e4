"""Tier A: models that transformers computes for us, against that library, PEFT and our own graph.

Rows are packed here and never there. What is saved, merged and generated is loaded by transformers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from tests_integration.foreign_models import foreign_settings, write_foreign_model
from tests_integration.tiny_models import VOCAB, write_tiny_model
from tests_integration.tolerances import (
    F32_GRAD,
    F32_LOSS_SUM,
    F32_RECURRENT_GRAD,
    assert_parity,
    differs,
)
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.keymap import AdapterModule, ProjectionRole, adapter_modules
from vox_populi.hf.model_config import ModelConfig
from vox_populi.model import transformers_attention
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.hf_load import load_base
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.packing_proof import measure_packing
from vox_populi.model.transformers_graph import TransformersGraph
from vox_populi.plan.packing_proof_facts import TOLERANCE
from vox_tensor.collate import collate_window
from vox_tensor.lora import LoraLinear
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import IGNORE_INDEX, EncodedRow
from vox_tensor.segment_attention import segment_attention

SPEC = LoraSpec(rank=4, alpha=12.0)
PACKED = ("glm4", "cohere", "starcoder2", "gpt_oss", "gptj")
"""Fused gate and up; a factor of the logits; biases; sinks and windows; attention that is the
class's own."""
ALONE = ("qwen3_5_text",)
"""Hybrids whose recurrent layers cannot be packed without packages that are not here."""
NATIVE = (
    "gpt2", "llama", "mistral", "qwen3", "phi3", "gemma2",
    "qwen3_moe_every_expert", "mixtral_every_expert",
)  # fmt: skip


def draw_rows() -> list[EncodedRow]:
    generator = torch.Generator().manual_seed(4)
    rows = []
    for line, length in enumerate((21, 4, 12), start=1):
        ids = tuple(torch.randint(3, VOCAB, (length,), generator=generator).tolist())
        rows.append(EncodedRow(ids, (IGNORE_INDEX,) * 2 + ids[2:], line))
    return rows


def block_modules(config: ModelConfig, *, experts: bool = True) -> list[AdapterModule]:
    return [
        m
        for m in adapter_modules(config)
        if ProjectionRole.LM_HEAD not in m.roles and (experts or not m.in_expert)
    ]


def adapted_model(
    folder: Path, source: GraphSource = GraphSource.TRANSFORMERS, *, experts: bool = True
) -> tuple[CausalGraph, dict[str, LoraLinear]]:
    """A model and its adapters by their names in checkpoints."""
    model = load_base(read_inventory(folder, source=source), torch.float32)
    chosen = block_modules(model.config, experts=experts)
    modules = sorted(chosen, key=lambda module: module.theirs)
    generator = torch.Generator().manual_seed(5)
    adapted = attach_adapters(model, modules, SPEC, generator)
    with torch.no_grad():
        for layer in adapted.values():
            layer.b_OR.normal_(std=0.05, generator=generator)
    return model, {module.theirs: adapted[module.ours] for module in modules}


def peft_model(base: Any, adapted: dict[str, LoraLinear], *, conv1d: bool) -> Any:
    config = LoraConfig(
        r=SPEC.rank,
        lora_alpha=int(SPEC.alpha),
        lora_dropout=0.0,
        target_modules=list(adapted),
        fan_in_fan_out=conv1d,
        task_type="CAUSAL_LM",
    )
    model: Any = get_peft_model(base, config)
    with torch.no_grad():
        for name, mine in adapted.items():
            layer = model.base_model.model.get_submodule(name)
            layer.lora_A["default"].weight.copy_(mine.a_RI)
            layer.lora_B["default"].weight.copy_(mine.b_OR)
    return model


def assert_same_gradients(
    adapted: dict[str, LoraLinear], theirs: Any, *, is_recurrent: bool = False
) -> None:
    for name, mine in adapted.items():
        layer = theirs.base_model.model.get_submodule(name)
        for own, other in ((mine.a_RI, layer.lora_A), (mine.b_OR, layer.lora_B)):
            assert own.grad is not None
            assert differs(own.grad, torch.zeros_like(own), F32_GRAD)
            expected = other["default"].weight.grad
            if is_recurrent:
                largest = expected.abs().max()
                assert_parity(own.grad / largest, expected / largest, F32_RECURRENT_GRAD)
            else:
                assert_parity(own.grad, expected, F32_GRAD)


def peft_loss(theirs: Any, rows: Sequence[EncodedRow]) -> torch.Tensor:
    """The sum of the losses of the rows, each computed alone; its gradients are computed."""
    losses = [
        theirs(torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss * row.n_supervised
        for row in rows
    ]
    loss = torch.stack(losses).sum()
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("model_type", [*PACKED, *ALONE])
def test_loss_and_gradients_of_packed_rows_are_those_of_peft_row_by_row(
    model_type: str, tmp_path: Path
) -> None:
    spread = 1.0 if model_type in PACKED else 0.4
    base = write_foreign_model(tmp_path, model_type, spread=spread, tie_word_embeddings=False)
    # How PEFT holds adapters of experts: `test_transformers_experts.py`.
    ours, adapted = adapted_model(tmp_path, GraphSource.AUTO, experts=False)
    assert isinstance(ours, TransformersGraph)
    ours.packs = model_type in PACKED
    theirs, rows = peft_model(base, adapted, conv1d=False), draw_rows()

    loss = ours.loss_sum(collate_window(rows))
    loss.backward()
    assert_parity(loss.detach(), peft_loss(theirs, rows), F32_LOSS_SUM)
    assert_same_gradients(adapted, theirs, is_recurrent=model_type in ALONE)


@pytest.mark.parametrize("name", NATIVE)
def test_both_sources_of_a_native_family_give_the_same_loss_and_gradients(
    name: str, tmp_path: Path
) -> None:
    write_tiny_model(tmp_path, name)
    native, native_layers = adapted_model(tmp_path, GraphSource.NATIVE)
    foreign, foreign_layers = adapted_model(tmp_path)
    assert isinstance(foreign, TransformersGraph)
    foreign.packs = True
    assert sorted(native_layers) == sorted(foreign_layers)
    names = [{m.theirs: m.ours for m in adapter_modules(each.config)} for each in (native, foreign)]
    assert names[0] == names[1], "an adapter of one source is an adapter of the other"
    window = collate_window(draw_rows())
    losses = [model.loss_sum(window) for model in (native, foreign)]
    for loss in losses:
        loss.backward()
    assert_parity(losses[1].detach(), losses[0].detach(), F32_LOSS_SUM)
    for path, layer in native_layers.items():
        other = foreign_layers[path]
        for one, two in ((layer.a_RI, other.a_RI), (layer.b_OR, other.b_OR)):
            assert one.grad is not None
            assert two.grad is not None
            assert differs(one.grad, torch.zeros_like(one), F32_GRAD)
            assert_parity(two.grad, one.grad, F32_GRAD)


def test_the_proof_finds_a_leak_between_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = foreign_settings("glm4")
    sound = measure_packing(settings, "config.json")
    assert not sound.refused
    assert max(sound.alone, sound.packed, sound.gradients) <= TOLERANCE
    kept = segment_attention

    def over_all(*parts: Any, **options: Any) -> torch.Tensor:
        queries, keys, values, offsets = parts
        return kept(queries, keys, values, (0, offsets[-1]), **options)

    monkeypatch.setattr(transformers_attention, "segment_attention", over_all)
    leaking = measure_packing(settings, "config.json")
    assert leaking.alone <= TOLERANCE
    assert leaking.packed > 100 * TOLERANCE
    assert leaking.gradients > 100 * TOLERANCE


def test_the_proof_finds_attention_that_is_not_that_of_the_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = segment_attention

    def unscaled(*parts: Any, **options: Any) -> torch.Tensor:
        return kept(*parts, **{**options, "scale": 1.0})

    monkeypatch.setattr(transformers_attention, "segment_attention", unscaled)
    assert measure_packing(foreign_settings("glm4"), "config.json").alone > 10 * TOLERANCE


def test_code_in_the_folder_is_never_run(tmp_path: Path) -> None:
    write_foreign_model(tmp_path, "glm4")
    path = tmp_path / "config.json"
    settings = json.loads(path.read_text())
    settings["auto_map"] = {"AutoModelForCausalLM": "trap.Trap"}
    path.write_text(json.dumps(settings))
    (tmp_path / "trap.py").write_text("raise SystemExit('run')\n")
    inventory = read_inventory(tmp_path)
    assert any("auto_map is ignored" in note for note in inventory.config.notes)
    assert isinstance(load_base(inventory, torch.float32), TransformersGraph)
