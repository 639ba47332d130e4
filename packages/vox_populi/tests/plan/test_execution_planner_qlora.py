"""Plans on a 4-bit base: graph, quantisation, proxy stack, width of the loss, memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vox_populi.contract.adapter_target import parse_targets
from vox_populi.contract.choices import Backend, ComputeDtype, DeviceKind, GraphId, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import DenseCopiesChoice, QloraGraph, QloraSpec
from vox_populi.errors import PlanError
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import block_weight_keys, ordered_middle_projection_keys
from vox_populi.hf.nf4_stored import Nf4Stored, part_shapes
from vox_populi.plan.device_choice import MachineFacts
from vox_populi.plan.execution_planner import (
    DataFacts,
    ExecutionPlan,
    Kernel,
    plan_execution,
)
from vox_populi.plan.graph_choice import choose_graph
from vox_populi.plan.memory_estimate import count_parameters
from vox_populi.plan.nf4_plan import choose_dense_copies, packed_nf4_bytes
from vox_tensor.nf4_levels import BLOCK_SIZES, Nf4Settings

MakeContract = Callable[..., FinetuneContract]
MakeInventory = Callable[..., ModelInventory]
DATA = DataFacts(
    n_train_rows=100, n_valid_rows=10, longest_row=60, tokens=5000, supervised_tokens=2000
)
PROXY = QloraSpec(graph=QloraGraph.PROXY)
EMBEDDING = "model.embed_tokens.weight"


@pytest.fixture
def plan(
    make_contract: MakeContract, make_inventory: MakeInventory, cpu_machine: MachineFacts
) -> Callable[..., ExecutionPlan]:
    def make(
        base: str | ModelInventory = "llama",
        qlora: QloraSpec | None = None,
        data: DataFacts = DATA,
        machine: MachineFacts = cpu_machine,
        **changes: Any,
    ) -> ExecutionPlan:
        inventory = make_inventory(base) if isinstance(base, str) else base
        settings = {"backend": Backend.QLORA, "tokenizer": TokenizerKind.HF, **changes}
        contract = make_contract(qlora=qlora or QloraSpec(), **settings)
        chosen = choose_graph(contract, inventory)
        return plan_execution(contract, inventory, chosen, data, machine)

    return make


MakePlan = Callable[..., ExecutionPlan]


def without(inventory: ModelInventory, *names: str) -> ModelInventory:
    """The same base, which lacks some tensors."""
    assert all(name in inventory.tensors for name in names)
    tensors = {name: info for name, info in inventory.tensors.items() if name not in names}
    return replace(inventory, tensors=tensors, missing=names)


def in_nf4(inventory: ModelInventory, *, block_size: int, double_quant: bool) -> ModelInventory:
    """The same base, packed by bitsandbytes."""
    keys = block_weight_keys(inventory.config)
    nf4 = {
        key.theirs: Nf4Stored(
            parts={},
            settings=Nf4Settings(block_size=block_size, double_quant=double_quant),
            shape=key.our_shape,
            dtype="float32",
            nested_offset=0.0 if double_quant else None,
        )
        for key in keys
    }
    tensors = {name: info for name, info in inventory.tensors.items() if name not in nf4}
    return replace(inventory, tensors=tensors, nf4=nf4)


@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gpt2"])
def test_qlora_selects_the_candle_kernel_and_the_full_graph(plan: MakePlan, family: str) -> None:
    made = plan(family)
    assert (made.kernel, made.graph) == (Kernel.CANDLE_QLORA, GraphId.FULL)
    assert made.objective_note == "candle_qlora_full_graph_full_assistant_ce"
    assert made.candle_compat_mode
    assert made.proxy is None
    assert made.quant is not None
    assert made.quant.modules == tuple(module.ours for module in made.adapters)
    assert not any("lm_head" in name for name in made.quant.modules)


def test_lora_has_no_quantisation_no_proxy_and_no_compat_mode(plan: MakePlan) -> None:
    made = plan(backend=Backend.LORA)
    assert (made.kernel, made.quant, made.proxy) == (Kernel.BURN_LORA, None, None)
    assert (made.candle_compat_mode, made.ce_last_k) == (False, None)


def test_a_width_of_the_loss_names_the_objective(plan: MakePlan) -> None:
    made = plan(qlora=QloraSpec(ce_last_k=8))
    assert (made.objective_note, made.ce_last_k) == ("candle_qlora_full_graph_k8", 8)
    proxy = plan(qlora=PROXY)
    assert (proxy.objective_note, proxy.ce_last_k) == ("candle_qlora_proxy_v1_k1", 1)


def test_targets_choose_adapters_and_not_what_is_quantised(plan: MakePlan) -> None:
    made = plan(targets=parse_targets("q,v"))
    assert made.quant is not None
    assert len(made.adapters) == 4
    assert len(made.quant.modules) == 14


def test_the_full_graph_names_what_is_missing_and_the_way_out(
    plan: MakePlan, make_inventory: MakeInventory
) -> None:
    missing = ("model.layers.1.mlp.up_proj.weight", "model.norm.weight")
    with pytest.raises(PlanError) as caught:
        plan(without(make_inventory(), *missing))
    (problem,) = caught.value.problems
    assert problem.code == "MENS-P020"
    assert all(name in problem.what for name in missing)
    assert "--qlora-graph proxy" in problem.fix
    made = plan(without(make_inventory(), *missing), PROXY)
    assert made.graph == GraphId.PROXY_STACK


def test_a_complete_proxy_stack_is_trained_in_key_order(plan: MakePlan) -> None:
    made = plan("gpt2", PROXY)
    assert made.graph == GraphId.PROXY_STACK
    assert [module.ours for module in made.adapters] == [
        "blocks.0.attn.o",
        "blocks.1.attn.o",
        "lm_head",
    ]
    assert made.proxy is not None
    assert made.quant is not None
    assert (made.proxy.eligible, made.proxy.is_complete) == (True, True)
    assert (made.proxy.matched, made.proxy.expected, made.proxy.missing) == (2, 2, ())
    assert made.quant.modules == tuple(module.ours for module in made.adapters)
    assert any("not comparable with a full-graph loss" in note for note in made.notes)


def test_only_the_embedding_of_a_qwen2_of_one_layer(
    plan: MakePlan, make_inventory: MakeInventory
) -> None:
    whole = make_inventory("qwen2", num_hidden_layers=1, vocab_size=10, eos_token_id=2)
    assert whole.tensors[EMBEDDING].shape == (10, 8)
    bare = without(whole, *(name for name in whole.tensors if name != EMBEDDING))
    made = plan(bare, PROXY)
    proxy = made.proxy
    assert proxy is not None
    assert (proxy.eligible, proxy.is_complete, proxy.matched, proxy.expected) == (True, False, 0, 1)
    assert made.graph == GraphId.HEAD_ONLY
    assert [module.ours for module in made.adapters] == ["lm_head"]
    (loud,) = [note for note in made.notes if "ONLY THE LM HEAD" in note]
    assert "model.layers.0.self_attn.o_proj.weight" in loud


def test_one_missing_projection_leaves_the_head_alone(
    plan: MakePlan, make_inventory: MakeInventory
) -> None:
    base = make_inventory()
    name = ordered_middle_projection_keys(base.config)[1]
    made = plan(without(base, name), PROXY)
    assert made.proxy is not None
    assert (made.graph, made.proxy.middle) == (GraphId.HEAD_ONLY, ())
    assert (made.proxy.matched, made.proxy.missing) == (1, (name,))


def test_a_strict_stack_fails_closed(plan: MakePlan, make_inventory: MakeInventory) -> None:
    base = make_inventory()
    name = ordered_middle_projection_keys(base.config)[0]
    strict = QloraSpec(require_full_proxy_stack=True)
    with pytest.raises(PlanError, match=r"MENS-P021.*strict proxy stack") as caught:
        plan(without(base, name), strict)
    assert name in str(caught.value)
    assert plan(base, strict).graph == GraphId.PROXY_STACK


def test_a_gpu_by_name_is_strict_and_can_be_told_not_to_be(
    plan: MakePlan, make_inventory: MakeInventory
) -> None:
    base = make_inventory()
    bare = without(base, *ordered_middle_projection_keys(base.config))
    gpu = MachineFacts(n_cpus=2, has_cuda=True, device_memory_bytes=2**33, has_bf16=True)
    with pytest.raises(PlanError, match="MENS-P021"):
        plan(bare, PROXY, machine=gpu, device=DeviceKind.CUDA)
    relaxed = replace(PROXY, allow_partial_proxy_stack=True)
    assert plan(bare, relaxed, machine=gpu, device=DeviceKind.CUDA).graph == GraphId.HEAD_ONLY
    assert plan(bare, PROXY, machine=gpu).graph == GraphId.HEAD_ONLY


@pytest.mark.parametrize(("most", "n_middle"), [(0, 0), (1, 1), (2, 2), (9, 2)])
def test_the_number_of_middle_layers_can_be_limited(
    plan: MakePlan, most: int, n_middle: int
) -> None:
    made = plan(qlora=QloraSpec(proxy_max_layers=most))
    assert made.proxy is not None
    assert len(made.proxy.middle) == n_middle
    assert made.graph == (GraphId.PROXY_STACK if n_middle else GraphId.HEAD_ONLY)
    assert made.proxy.is_complete
    assert any("--qlora-proxy-max-layers 9" in note for note in made.notes) == (most == 9)


def test_a_projection_that_is_not_square_cannot_be_part_of_a_stack(
    plan: MakePlan, make_inventory: MakeInventory
) -> None:
    wide = make_inventory("qwen3", head_dim=8)
    made = plan(wide, PROXY)
    assert made.proxy is not None
    assert (made.proxy.eligible, made.proxy.matched, made.graph) == (False, 0, GraphId.HEAD_ONLY)
    assert made.proxy.missing == ordered_middle_projection_keys(wide.config)
    assert plan(wide).graph == GraphId.FULL


def test_a_projection_that_is_not_square_is_not_called_missing(
    plan: MakePlan, make_inventory: MakeInventory
) -> None:
    wide = make_inventory("qwen3", head_dim=8)
    with pytest.raises(PlanError, match="MENS-P024") as caught:
        plan(wide, QloraSpec(require_full_proxy_stack=True))
    (problem,) = caught.value.problems
    (loud,) = [note for note in plan(wide, PROXY).notes if "ONLY THE LM HEAD" in note]
    for text in (problem.what, loud):
        assert "not square" in text
        assert "missing" not in text
        assert ordered_middle_projection_keys(wide.config)[0] in text
    assert "Complete the folder" not in problem.fix


def test_settings_without_effect_are_named(plan: MakePlan) -> None:
    partial = QloraSpec(allow_partial_proxy_stack=True)
    for spec in (partial, replace(partial, graph=QloraGraph.PROXY)):
        notes = plan(qlora=spec).notes
        assert any("--qlora-allow-partial-proxy-stack" in note for note in notes)
    assert any("--targets" in note for note in plan(qlora=PROXY, targets=parse_targets("q")).notes)
    assert not any("no effect" in note for note in plan(qlora=PROXY).notes)


def test_the_proxy_has_no_positions_that_could_end(plan: MakePlan) -> None:
    long = replace(DATA, longest_row=65)
    with pytest.raises(PlanError, match="MENS-P006"):
        plan("gpt2", data=long)
    assert plan("gpt2", PROXY, data=long).graph == GraphId.PROXY_STACK


def test_a_prequantised_base_decides_its_own_layout(
    plan: MakePlan, make_inventory: MakeInventory
) -> None:
    packed = in_nf4(make_inventory(), block_size=128, double_quant=True)
    spec = QloraSpec(double_quant=False, block_size=256)
    quant, asked = plan(packed, spec).quant, plan("llama", spec).quant
    assert quant is not None
    assert asked is not None
    assert (quant.settings, quant.is_prequantised) == (Nf4Settings(block_size=128), True)
    assert (asked.settings, asked.is_prequantised) == (spec.nf4, False)
    assert spec.nf4 == Nf4Settings(block_size=256, double_quant=False)
    text = " ".join(plan(packed, spec).notes)
    assert "--qlora-no-double-quant has no effect" in text
    assert "--nf4-block-size has no effect" in text
    assert "has no effect" not in " ".join(plan(packed).notes)
    assert len(plan(packed).adapters) == len(quant.modules) == 14


def test_a_prequantised_base_is_refused_for_lora(
    plan: MakePlan, make_inventory: MakeInventory
) -> None:
    packed = in_nf4(make_inventory(), block_size=64, double_quant=True)
    with pytest.raises(PlanError, match="--backend qlora"):
        plan(packed, backend=Backend.LORA)


@pytest.mark.parametrize("block_size", BLOCK_SIZES)
@pytest.mark.parametrize("double_quant", [True, False])
def test_packed_bytes_are_those_of_the_stored_parts(block_size: int, double_quant: bool) -> None:
    sizes = {"U8": 1, "F32": 4}
    settings = Nf4Settings(block_size=block_size, double_quant=double_quant)
    for n_values in (1, 64, 4097, 300 * 4096 + 3):
        parts = part_shapes((1, n_values), settings)
        stored = sum(
            sizes[dtype] * shape[0]
            for part, (dtype, shape) in parts.items()
            if not part.endswith("map")
        )
        offset = 4 if double_quant else 0
        found = packed_nf4_bytes(n_values, settings)
        assert found == stored + offset


def test_memory_counts_packed_and_dense_weights_once(plan: MakePlan) -> None:
    made = plan(dtype=ComputeDtype.F32, qlora=QloraSpec(dense_copies=DenseCopiesChoice.NONE))
    quant, memory = made.quant, made.memory
    assert quant is not None
    in_blocks = sum(
        module.in_features * module.out_features
        for module in made.adapters
        if module.ours in quant.modules
    )
    assert memory.weights == 4 * (count_parameters(made.config) - in_blocks)
    assert memory.packed_weights == quant.packed_bytes < in_blocks
    assert memory.dense_copies == 4 * 16 * 40
    assert dict(memory.terms())["packed_weights"] == memory.packed_weights
    assert "packed_weights" not in dict(plan(backend=Backend.LORA).memory.terms())


@pytest.mark.parametrize("policy", ["none", "layer", "step"])
def test_a_policy_for_dense_copies_is_what_was_asked_for(plan: MakePlan, policy: str) -> None:
    quant = plan(qlora=QloraSpec(dense_copies=DenseCopiesChoice(policy))).quant
    assert quant is not None
    assert quant.dense_copies == policy
    assert [name for name, _ in quant.dense_copy_bytes] == ["none", "layer", "step"]


def test_dense_copies_are_kept_where_they_fit_comfortably(
    plan: MakePlan, cpu_machine: MachineFacts
) -> None:
    roomy, unknown = plan().quant, plan(machine=replace(cpu_machine, memory_bytes=None)).quant
    assert roomy is not None
    assert unknown is not None
    assert (roomy.dense_copies, unknown.dense_copies) == ("step", "none")
    auto, step = DenseCopiesChoice.AUTO, DenseCopiesChoice.STEP
    assert choose_dense_copies(auto, 25, 100) is step
    assert choose_dense_copies(auto, 26, 100) is DenseCopiesChoice.NONE
    assert choose_dense_copies(step, 99, 100) is step


def test_the_estimates_of_all_policies_are_noted(plan: MakePlan) -> None:
    (note,) = [note for note in plan().notes if "dense copies" in note]
    assert all(f"{name} " in note for name in ("none", "layer", "step"))


def test_the_proxy_computes_learned_positions_only(plan: MakePlan) -> None:
    narrow = plan(qlora=PROXY).memory
    wide = plan(qlora=replace(PROXY, ce_last_k=4)).memory
    assert wide.activations == 4 * narrow.activations
    assert narrow.activations < plan().memory.activations
    assert narrow.weights == 4 * 300 * 16
