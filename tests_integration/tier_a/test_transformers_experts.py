"""Tier A: adapters of experts that a class of transformers holds together in one tensor per layer.

The oracles are the class's own loop over its experts, on weights with `B @ A` added, and PEFT's
adapters of whole tensors. Rows are packed here and never there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests_integration.foreign_models import foreign_settings, write_foreign_model
from tests_integration.tier_a.test_expert_parity import stored_forms
from tests_integration.tier_a.test_peft_interop import IDS, our_logits, write_adapter
from tests_integration.tier_a.test_transformers_graph_parity import (
    SPEC,
    adapted_model,
    block_modules,
    draw_rows,
)
from tests_integration.tier_a.test_transformers_graph_runs import StopAt, contract, logits_of
from tests_integration.tolerances import (
    F32_GRAD,
    F32_LOGITS,
    F32_LOSS_SUM,
    F32_MERGED,
    assert_parity,
    differs,
)
from vox_populi.adapters.base import leaves_experts
from vox_populi.adapters.v3.names import QLORA_ADAPTER_FILE
from vox_populi.contract.choices import Backend
from vox_populi.export.consumers import Consumer
from vox_populi.hf.experts_place import ExpertsPlace
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.keymap import adapter_modules
from vox_populi.hf.model_config import parse_model_config
from vox_populi.infer.cached_model import CachedModel
from vox_populi.infer.generate import generate_ids
from vox_populi.infer.sampling_spec import SamplingSpec
from vox_populi.model.hf_load import load_base
from vox_populi.model.lora_transformer import attach_adapters, load_adapter_tensors
from vox_populi.model.transformers_graph import TransformersGraph
from vox_populi.pipeline.export import ExportRequest
from vox_populi.pipeline.export_run import export_adapter
from vox_populi.pipeline.merge import AnyMergeRequest, merge_adapter
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_populi.pipeline.train import Resume, RunOptions, run_training
from vox_populi.plan.coverage import coverage_of
from vox_populi.runs.find_adapter import find_own_adapter
from vox_tensor.collate import collate_window
from vox_tensor.lora_spec import LoraSpec

FORMS = ("gpt_oss", "glm4_moe", "granitemoe")
"""Gate and up that take turns, `[in, out]`, with biases and a gate of their own; experts that are
published one by one, beside shared ones; whole tensors under other names."""
SMALL: dict[str, Any] = {"num_hidden_layers": 2, "spread": 0.5}
KINDS = {"layer_types": ["sliding_attention", "full_attention"]}
SIZES: Mapping[str, dict[str, Any]] = {"gpt_oss": {**SMALL, **KINDS}, "nemotron_h": {"spread": 0.5}}
"""What makes the models of this file small."""
Pairs = Mapping[str, tuple[Tensor, Tensor]]
"""A and B by our names."""


def whole_updates(place: ExpertsPlace, pairs: Pairs) -> dict[str, Tensor]:
    """What adapters add to every tensor of a layer's experts, written out."""
    found = {}
    for tensor, parts in place.tensors.items():
        each = []
        for expert in range(place.count):
            rows = [pairs[f"{place.ours}.{expert}.{part.name}"] for part in parts]
            delta_OI = torch.cat([SPEC.scale * b_OR @ a_RI for a_RI, b_OR in rows])
            each.append(delta_OI.t() if place.is_transposed else delta_OI)
        found[f"{place.path}.{tensor}"] = torch.stack(each)
    return found


def with_updates(model: Any, graph: TransformersGraph, pairs: Pairs) -> Callable[..., Any]:
    """The class, with its own loop over experts, on weights with their updates."""
    table = graph.config.modules
    assert table is not None
    model.set_experts_implementation("eager")
    updates: dict[str, Tensor] = {}
    for place in table.experts:
        updates |= whole_updates(place, pairs)
    for module in table.modules:
        if module.ours in pairs and not module.in_expert:
            a_RI, b_OR = pairs[module.ours]
            updates[f"{module.theirs}.weight"] = SPEC.scale * b_OR @ a_RI
    weights = {name: model.get_parameter(name).detach() + each for name, each in updates.items()}
    return lambda **given: torch.func.functional_call(model, weights, kwargs=given)


def loss_of(model: Callable[..., Any]) -> Tensor:
    """The sum of the losses of the rows, each computed alone."""
    losses = [
        model(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss
        * row.n_supervised
        for row in draw_rows()
    ]
    return torch.stack(losses).sum()


@pytest.mark.parametrize("model_type", [*FORMS, "nemotron_h"])
def test_loss_and_gradients_are_those_of_the_loop_of_the_class(
    model_type: str, tmp_path: Path
) -> None:
    base = write_foreign_model(tmp_path, model_type, **SIZES.get(model_type, SMALL))
    ours, layers = adapted_model(tmp_path)
    assert isinstance(ours, TransformersGraph)
    ours.packs = model_type in FORMS
    names = {m.theirs: m for m in adapter_modules(ours.config)}
    adapted = {names[theirs].ours: layer for theirs, layer in layers.items()}
    pairs = {
        name: (layer.a_RI.detach().clone(), layer.b_OR.detach().clone())
        for name, layer in adapted.items()
    }
    for pair in pairs.values():
        for factor in pair:
            factor.requires_grad_()

    loss = ours.loss_sum(collate_window(draw_rows()))
    loss.backward()
    expected = loss_of(with_updates(base, ours, pairs))
    expected.backward()
    assert_parity(loss.detach(), expected.detach(), F32_LOSS_SUM)
    in_experts = [m.ours for m in names.values() if m.in_expert]
    assert in_experts
    learned = 0
    for name, pair in pairs.items():
        for own, other in zip((adapted[name].a_RI, adapted[name].b_OR), pair, strict=True):
            assert own.grad is not None, name
            assert other.grad is not None
            assert_parity(own.grad, other.grad, F32_GRAD)
            learned += name in in_experts and differs(own.grad, torch.zeros_like(own), F32_GRAD)
    assert learned > len(in_experts), "most experts have gradients of A and of B"
    routers = [name for name, p in ours.named_parameters() if "router" in name and p.requires_grad]
    assert not routers


@pytest.mark.filterwarnings("ignore")
def test_gradients_of_gpt_oss_are_those_of_whole_tensors_in_peft(tmp_path: Path) -> None:
    base = write_foreign_model(tmp_path, "gpt_oss", **SIZES["gpt_oss"])
    ours = load_base(read_inventory(tmp_path), torch.float32)
    assert isinstance(ours, TransformersGraph)
    ours.packs = True
    modules = [m for m in adapter_modules(ours.config) if m.in_expert]
    draws = torch.Generator().manual_seed(5)
    adapted = attach_adapters(ours, modules, SPEC, draws)
    config = LoraConfig(
        r=SPEC.rank,
        lora_alpha=int(SPEC.alpha),
        target_modules=[],
        target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
    )
    theirs: Any = get_peft_model(base, config)
    wrapped = {
        (int(name.split(".layers.")[1].partition(".")[0]), module.parameter_name): module
        for name, module in theirs.named_modules()
        if hasattr(module, "parameter_name")
    }
    pairs = []
    for name, layer in adapted.items():
        _, number, _, _, expert, part = name.split(".")
        its = wrapped[int(number), f"{part}_proj"]
        a, b = its.lora_A["default"].weight, its.lora_B["default"].weight
        count = a.shape[0] // SPEC.rank
        rows = slice(int(expert) * SPEC.rank, (int(expert) + 1) * SPEC.rank)
        with torch.no_grad():
            layer.b_OR.normal_(std=0.05, generator=draws)
            a[rows] = layer.a_RI
            b[:, int(expert) :: count] = layer.b_OR
        pairs.append((layer, a, b, rows, slice(int(expert), None, count)))

    loss, expected = ours.loss_sum(collate_window(draw_rows())), loss_of(theirs)
    loss.backward()
    expected.backward()
    assert_parity(loss.detach(), expected.detach(), F32_LOSS_SUM)
    for layer, a, b, rows, columns in pairs:
        assert layer.a_RI.grad is not None
        assert layer.b_OR.grad is not None
        assert_parity(layer.a_RI.grad, a.grad[rows], F32_GRAD)
        assert_parity(layer.b_OR.grad, b.grad[:, columns], F32_GRAD)
    first = pairs[0][1]
    assert differs(first.grad, torch.zeros_like(first), F32_GRAD)


@pytest.mark.parametrize("model_type", FORMS[:2])
def test_a_merged_folder_is_base_and_adapter_in_the_form_of_the_base(
    model_type: str, tmp_path: Path
) -> None:
    base = write_foreign_model(
        tmp_path / "base", model_type, tokenizer=True, **SIZES.get(model_type, SMALL)
    )
    report = run_training(contract(tmp_path, "run", learning_rate=2e-2, max_steps=1), RunOptions())
    merged = merge_adapter(AnyMergeRequest(source=report.run, output=tmp_path / "merged"))
    found: Any = AutoModelForCausalLM.from_pretrained(merged.output, dtype=torch.float32)
    assert stored_forms(tmp_path / "merged") == stored_forms(tmp_path / "base")
    changed = {
        name
        for name, value in found.state_dict().items()
        if not torch.equal(value, base.state_dict()[name])
    }
    assert any("experts.gate_up_proj" in name for name in changed)
    assert any("experts.down_proj" in name for name in changed)
    assert not any(name.endswith((".router.weight", ".gate.weight")) for name in changed)

    graph = load_base(read_inventory(tmp_path / "base"), torch.float32)
    own = find_own_adapter(report.run, None).adapter
    modules = {m.ours: m for m in adapter_modules(graph.config)}
    adapted = attach_adapters(
        graph, [modules[each.ours] for each in own.header.modules], own.header.lora
    )
    load_adapter_tensors(adapted, own.tensors)
    ids = torch.randint(3, 320, (9,), generator=torch.Generator().manual_seed(2)).tolist()
    made = generate_ids(
        CachedModel(graph), ids, max_new_tokens=8, stop_ids=(), sampling=SamplingSpec()
    )
    expected: Any = found.generate(
        torch.tensor([ids]), max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert list(made.ids) == expected[0, 9:].tolist()
    assert isinstance(graph, TransformersGraph)
    bare = logits_of(base)
    assert differs(logits_of(found), bare, F32_LOGITS), "something was learned"
    pairs = {
        each.ours: (own.tensors[f"{each.ours}.lora_A"], own.tensors[f"{each.ours}.lora_B"])
        for each in own.header.modules
    }
    scaled = {
        name: (a_RI, b_OR * (own.header.lora.scale / SPEC.scale))
        for name, (a_RI, b_OR) in pairs.items()
    }
    theirs = with_updates(base, graph, scaled)
    assert_parity(logits_of(found), logits_of(lambda ids: theirs(input_ids=ids)), F32_MERGED)


@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys")
@pytest.mark.parametrize("model_type", FORMS)
def test_peft_loads_adapters_of_experts_strictly_and_computes_the_same(
    model_type: str, tmp_path: Path
) -> None:
    base = write_foreign_model(tmp_path / "base", model_type, **SIZES.get(model_type, SMALL))
    spec = LoraSpec(rank=3, alpha=7.5, dropout=0.05, use_rslora=True)
    chosen = block_modules(read_inventory(tmp_path / "base").config)
    tensors = write_adapter(tmp_path / "a.bin", tmp_path / "base", spec, chosen)
    export_adapter(
        ExportRequest(
            source=tmp_path / "a.bin",
            output_dir=tmp_path / "peft",
            consumer=Consumer.PEFT,
            model_dir=tmp_path / "base",
            keep_base_text=True,
        )
    )
    loaded: Any = PeftModel.from_pretrained(base, str(tmp_path / "peft"))
    stored = load_file(tmp_path / "peft" / "adapter_model.safetensors")
    found = get_peft_model_state_dict(loaded)
    assert stored.keys() == found.keys()
    assert all(torch.equal(stored[name], found[name]) for name in stored)
    ours = our_logits(tmp_path / "base", spec, tensors)
    bare = our_logits(tmp_path / "base", spec, {name: 0 * each for name, each in tensors.items()})
    with torch.no_grad():
        theirs = loaded.eval()(torch.tensor([IDS])).logits[0]
    assert differs(ours, bare, F32_LOGITS), "the adapter must change something"
    assert_parity(ours, theirs, F32_LOGITS)


def test_a_resumed_run_gives_the_same_bytes(tmp_path: Path) -> None:
    write_foreign_model(tmp_path / "base", "gpt_oss", tokenizer=True, **SIZES["gpt_oss"])
    changes: dict[str, Any] = {"lora": LoraSpec(rank=2, alpha=8.0, dropout=0.1), "max_steps": 2}
    changes["backend"] = Backend.QLORA
    whole = run_training(contract(tmp_path, "whole", **changes), RunOptions())
    asked = contract(tmp_path, "parts", **changes)
    with pytest.raises(RunInterruptedError):
        run_training(asked, RunOptions(), [StopAt(1)])
    resumed = run_training(asked, RunOptions(resume=Resume()))
    assert resumed.resumed_from == 1
    one, other = ((each.run / QLORA_ADAPTER_FILE).read_bytes() for each in (whole, resumed))
    assert one == other

    header = find_own_adapter(whole.run, None).adapter.header
    assert header.quantization is not None
    assert header.quantization.experts
    assert not leaves_experts(header)
    merged = merge_adapter(AnyMergeRequest(source=whole.run, output=tmp_path / "merged"))
    found = AutoModelForCausalLM.from_pretrained(merged.output, dtype=torch.float32)
    assert logits_of(found).isfinite().all()
    # An adapter from before experts were told apart: they were dense then, and still are.
    older = replace(
        header,
        quantization=replace(header.quantization, experts=False),
        modules=tuple(each for each in header.modules if "experts" not in each.ours),
    )
    assert leaves_experts(older)
    left = read_inventory(tmp_path / "base", source=older.source, leave_experts=True)
    assert left.config.experts is None
    assert not any("experts" in key.ours for key in left.quantized_keys())


def test_the_plan_counts_every_expert(tmp_path: Path) -> None:
    model = write_foreign_model(tmp_path, "gpt_oss")
    settings = foreign_settings("gpt_oss")
    config = parse_model_config(settings, "config.json", GraphSource.AUTO)
    coverage = coverage_of(config, [m for m in adapter_modules(config) if m.in_expert])
    assert coverage is not None
    tensors = {name: p.numel() for name, p in model.named_parameters()}
    of_experts = sum(
        size for name, size in tensors.items() if name.endswith("proj") and "experts" in name
    )
    assert coverage.total == sum(tensors.values())
    assert coverage.adapted == of_experts
    n_layers, n_experts = settings["num_hidden_layers"], settings["num_local_experts"]
    assert coverage.adapted_expert_layers == coverage.expert_layers == 2 * n_layers * n_experts
    assert coverage.active == coverage.total - of_experts + of_experts * 2 // n_experts
    assert set(dict(coverage.by_role)) == {"experts.gate+up", "experts.down"}
