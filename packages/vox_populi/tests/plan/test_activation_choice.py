"""What the planner lets the blocks keep: everything that fits, and never less than it must."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vox_populi.contract.choices import (
    ActivationMemoryChoice,
    Backend,
    ComputeDtype,
    DeviceKind,
    TokenizerKind,
)
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import DenseCopiesChoice, QloraGraph, QloraSpec
from vox_populi.errors import PlanError
from vox_populi.hf.inventory import ModelInventory
from vox_populi.plan.activation_choice import has_memory_to_spare
from vox_populi.plan.device_choice import MachineFacts
from vox_populi.plan.execution_planner import DataFacts, ExecutionPlan, plan_execution
from vox_populi.plan.graph_choice import choose_graph
from vox_populi.plan.memory_estimate import activations_per_token
from vox_populi.plan.plan_report import plan_as_json, plan_as_text
from vox_tensor.lora_spec import LoraSpec

MakeContract = Callable[..., FinetuneContract]
MakeInventory = Callable[..., ModelInventory]
MakePlan = Callable[..., ExecutionPlan]

C = ActivationMemoryChoice
GIB = 2**30
ROW = 32_768
EIGHT_B = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14_336,
    "vocab_size": 128_256,
    "max_position_embeddings": 131_072,
    "tie_word_embeddings": False,
}


@pytest.fixture
def plan(make_contract: MakeContract, make_inventory: MakeInventory) -> MakePlan:
    """One window of a long row on an 8B base."""

    def make(
        memory: int | None, *, device: str = "cuda", host: int | None = None, **changes: Any
    ) -> ExecutionPlan:
        settings: dict[str, Any] = {
            "seq_len": ROW,
            "batch_size": 1,
            "device": DeviceKind(device),
            **changes,
        }
        contract, inventory = make_contract(**settings), make_inventory("llama", **EIGHT_B)
        data = DataFacts(n_train_rows=10, n_valid_rows=0, longest_row=ROW)
        machine = MachineFacts(
            n_cpus=2,
            memory_bytes=memory if device == "cpu" else host,
            device_memory_bytes=memory,
            has_cuda=True,
            has_bf16=True,
        )
        return plan_execution(contract, inventory, choose_graph(contract, inventory), data, machine)

    return make


def test_each_choice_needs_less_than_the_one_before(plan: MakePlan) -> None:
    none, selective, full, offload = (
        plan(80 * GIB, activation_memory=each).memory
        for each in (C.NONE, C.SELECTIVE, C.FULL, C.OFFLOAD)
    )
    # D 4096, Q 4096, K 1024, H 32, F 14336, L 32; bf16.
    block = 2 * 4096 + 2 * 4096 + 2 * 1024 + 32 + 2 * 14_336
    assert none.activations == 2 * ROW * (32 * block + 2 * 4096)
    in_mlp = 2 * 14_336
    assert selective.activations == 2 * ROW * (32 * (block - in_mlp) + in_mlp + 2 * 4096)
    assert full.activations == 2 * ROW * (32 * 4096 + block + 2 * 4096)
    assert offload.activations == 2 * ROW * (block + 4 * 4096)
    assert (none.host, full.host, offload.host) == (0, 0, 2 * ROW * 32 * 4096)
    rest = {each.total - each.activations for each in (none, selective, full, offload)}
    assert len(rest) == 1, "nothing else changes"


def test_auto_takes_the_first_that_fits(plan: MakePlan) -> None:
    sizes = {
        each: plan(None, activation_memory=each).memory.total
        for each in (C.NONE, C.SELECTIVE, C.FULL, C.OFFLOAD)
    }
    for choice, size in sizes.items():
        exactly = plan(size)
        assert exactly.activation_memory is choice
        assert exactly.memory.total == size
        assert exactly.fits is True
        assert any("--activation-memory" in note for note in exactly.notes) is (
            choice is not C.NONE
        )
    short = plan(min(sizes.values()) - 1)
    assert short.activation_memory is C.OFFLOAD
    assert short.fits is False


def test_nothing_is_computed_again_where_memory_is_unknown(plan: MakePlan) -> None:
    assert plan(None).activation_memory is C.NONE


def test_host_memory_is_used_on_cuda_if_there_is_enough(plan: MakePlan) -> None:
    offload = plan(None, activation_memory=C.OFFLOAD).memory
    assert plan(offload.total, host=offload.host).activation_memory is C.OFFLOAD
    assert plan(offload.total, host=offload.host - 1).activation_memory is C.FULL
    on_cpu = plan(2 * GIB, device="cpu")
    assert on_cpu.activation_memory is C.FULL
    asked = plan(80 * GIB, device="cpu", activation_memory=C.OFFLOAD)
    assert asked.activation_memory is C.OFFLOAD
    full = plan(80 * GIB, device="cpu", activation_memory=C.FULL)
    assert asked.memory == full.memory, "the host has one memory"
    assert any("same as full on cpu" in note for note in asked.notes)


def test_what_was_asked_for_is_planned_whether_it_is_needed_or_fits(plan: MakePlan) -> None:
    assert plan(800 * GIB, activation_memory=C.FULL).activation_memory is C.FULL
    none = plan(8 * GIB, activation_memory=C.NONE)
    assert none.activation_memory is C.NONE
    assert none.fits is False


def test_a_32k_row_of_an_8b_base_is_planned_on_a_24_gib_card(plan: MakePlan) -> None:
    qlora = {
        "backend": Backend.QLORA,
        "tokenizer": TokenizerKind.HF,
        "qlora": QloraSpec(dense_copies=DenseCopiesChoice.NONE),
    }
    assert plan(24 * GIB, activation_memory=C.NONE, **qlora).fits is False
    made = plan(24 * GIB, **qlora)
    assert made.fits is True
    assert made.activation_memory is C.FULL


def test_masks_are_kept_as_the_layers_are(plan: MakePlan) -> None:
    """An input's mask is as large as the input."""
    inputs_of_attention, inputs_of_mlp = 3 * 4096 + 4096, 2 * 4096 + 14_336
    grows = {
        C.NONE: 32 * (inputs_of_attention + inputs_of_mlp),
        C.SELECTIVE: 32 * inputs_of_attention + inputs_of_mlp,
        C.FULL: inputs_of_attention + inputs_of_mlp,
        C.OFFLOAD: inputs_of_attention + inputs_of_mlp,
    }
    for choice, values in grows.items():
        without, masked = (
            plan(None, activation_memory=choice, lora=LoraSpec(dropout=p)).memory.activations
            for p in (0.0, 0.1)
        )
        assert masked - without == 2 * ROW * values, choice


def test_a_report_names_the_choice_if_it_is_one(plan: MakePlan) -> None:
    none, full, offload = (
        plan(80 * GIB, activation_memory=each) for each in (C.NONE, C.FULL, C.OFFLOAD)
    )
    assert "activations " not in plan_as_text(none).replace("memory: activations", "")
    assert "activation_memory" not in plan_as_json(none)
    assert "full: blocks are computed again" in plan_as_text(full)
    assert plan_as_json(full)["activation_memory"] == "full"
    assert "host_memory_bytes" not in plan_as_json(full)
    assert plan_as_json(offload)["host_memory_bytes"] == offload.memory.host
    assert "memory of the host" in plan_as_text(offload)


@pytest.mark.parametrize("asked", [C.SELECTIVE, C.FULL, C.OFFLOAD])
def test_the_proxy_graph_has_nothing_to_compute_again(
    make_contract: MakeContract, make_inventory: MakeInventory, asked: C
) -> None:
    settings: dict[str, Any] = {
        "backend": Backend.QLORA,
        "tokenizer": TokenizerKind.HF,
        "qlora": QloraSpec(graph=QloraGraph.PROXY),
        "dtype": ComputeDtype.F32,
    }
    inventory = make_inventory("llama")
    data = DataFacts(n_train_rows=10, n_valid_rows=1, longest_row=60)
    small = MachineFacts(n_cpus=1, memory_bytes=2**20, has_cuda=False, has_mps=False)
    contract = make_contract(**settings)
    chosen = choose_graph(contract, inventory)
    made = plan_execution(contract, inventory, chosen, data, small)
    assert made.activation_memory is C.NONE
    assert made.fits is False
    refused = replace(contract, memory=replace(contract.memory, activation_memory=asked))
    with pytest.raises(PlanError, match=r"MENS-P130.*--activation-memory"):
        plan_execution(refused, inventory, chosen, data, small)


def test_freed_memory_stays_where_there_is_plenty() -> None:
    assert has_memory_to_spare(GIB, None, "cpu")
    assert has_memory_to_spare(GIB, 2 * GIB, "cpu")
    assert not has_memory_to_spare(GIB, GIB, "cpu")
    assert has_memory_to_spare(GIB, GIB, "cuda"), "the host has nothing of it"


def test_a_block_keeps_its_mlp_and_the_rest(make_inventory: MakeInventory) -> None:
    config = make_inventory("gpt2").config
    assert activations_per_token(config) == 2 * 16 + 4 * 16 + config.n_heads + 64
