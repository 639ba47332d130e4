"""A base that processes hold together: whether, and how much memory each needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from vox_populi.contract.choices import (
    Backend,
    ComputeDtype,
    DeviceKind,
    ShardChoice,
    TokenizerKind,
)
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import DenseCopiesChoice, QloraGraph, QloraSpec
from vox_populi.contract.setting_groups import SharingSettings
from vox_populi.errors import PlanError
from vox_populi.hf.inventory import ModelInventory
from vox_populi.pipeline.machine_probe import with_ranks
from vox_populi.pipeline.rank_place import RankPlace
from vox_populi.plan.device_choice import MachineFacts
from vox_populi.plan.divided_memory import CPU_LIBRARIES_BYTES, base_parts
from vox_populi.plan.execution_planner import DataFacts, ExecutionPlan, plan_execution
from vox_populi.plan.graph_choice import choose_graph

DATA = DataFacts(n_train_rows=100, n_valid_rows=10, longest_row=60, tokens=5000)
LLAMA_70B: dict[str, Any] = {
    "vocab_size": 128_256,
    "hidden_size": 8192,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "intermediate_size": 28_672,
    "max_position_embeddings": 131_072,
    "tie_word_embeddings": False,
}
GIB = 2**30

MakePlan = Callable[..., ExecutionPlan]


@pytest.fixture
def plan(
    make_contract: Callable[..., FinetuneContract],
    make_inventory: Callable[..., ModelInventory],
    cpu_machine: MachineFacts,
) -> MakePlan:
    def make(size: int, model: dict[str, Any] | None = None, **changes: Any) -> ExecutionPlan:
        inventory = make_inventory("llama", **(model or {}))
        contract = make_contract(tokenizer=TokenizerKind.HF, **changes)
        place = RankPlace(size=size, local_size=size)
        machine = with_ranks(cpu_machine, contract.sharing, place, is_run=False)
        chosen = choose_graph(contract, inventory)
        return plan_execution(contract, inventory, chosen, DATA, machine)

    return make


def test_a_base_that_fits_stays_whole(plan: MakePlan) -> None:
    found = plan(4)
    assert not found.ranks.is_divided
    assert found.memory.gathered == 0
    assert found.memory.exchange == 3 * found.memory.gradients
    assert found.memory_available == 2 * GIB, "four processes share the machine's memory"


def test_one_process_divides_nothing_and_says_so(plan: MakePlan) -> None:
    found = plan(1, shard=ShardChoice.ALWAYS)
    assert not found.ranks.is_divided
    assert any("--shard always" in note for note in found.notes)
    assert found.memory.exchange == 0


@pytest.mark.parametrize("backend", list(Backend))
def test_a_divided_base_takes_its_share_and_one_part(plan: MakePlan, backend: Backend) -> None:
    model = {"tie_word_embeddings": False}
    copies = QloraSpec(dense_copies=DenseCopiesChoice.STEP)
    settings = {"backend": backend, "qlora": copies} if backend is Backend.QLORA else {}
    whole = plan(4, model, shard=ShardChoice.NEVER, **settings)
    parts = plan(4, model, shard=ShardChoice.ALWAYS, **settings)
    assert parts.ranks.is_divided
    norm = 4 * 16
    assert parts.memory.weights == norm + -(-(whole.memory.weights - norm) // 4)
    assert parts.memory.packed_weights == -(-whole.memory.packed_weights // 4)
    # The embeddings, 300 by 16, are more than twice a block in NF4 and less than that in f32.
    block = 2 * 16 + 2 * 16 * 16 + 2 * 8 * 16 + 3 * 16 * 40
    # While the head is whole, no copy of a matrix is there.
    table = 4 * 300 * 16 - 4 * 16 * 40
    assert parts.memory.gathered == (table if backend is Backend.QLORA else 2 * 4 * block)
    assert parts.memory.runtime - whole.memory.runtime == CPU_LIBRARIES_BYTES
    assert dict(parts.memory.terms())["gathered"] == parts.memory.gathered
    if parts.quant is not None:
        assert parts.quant.dense_copies == "none", "copies of everything would undo it"


def test_a_cpu_holds_tables_as_they_are_stored_and_a_card_as_it_computes(
    make_inventory: Callable[..., ModelInventory],
) -> None:
    whole = make_inventory("llama", tie_word_embeddings=False)
    narrow = {name: replace(info, dtype="BF16") for name, info in whole.tensors.items()}
    table = 300 * 16
    for inventory, device, width in (
        (whole, "cpu", 4),
        (replace(whole, tensors=narrow), "cpu", 2),
        (replace(whole, tensors=narrow), "cuda", 4),
    ):
        parts = base_parts(inventory, {}, 4, device)
        assert parts.held == {"embed": width * table, "lm_head": width * table}
        assert parts.dense["embed"] == parts.table == 4 * table


def test_70b_in_nf4_is_planned_for_eight_cards_of_24_gib(plan: MakePlan) -> None:
    settings = {
        "backend": Backend.QLORA,
        "device": DeviceKind.CUDA,
        "dtype": ComputeDtype.BF16,
        "device_memory": 24.0,
        "seq_len": 2048,
        "batch_size": 1,
    }
    one = plan(1, LLAMA_70B, **settings)
    assert one.fits is False
    eight = plan(8, LLAMA_70B, **settings)
    assert eight.ranks.is_divided
    assert eight.fits is True
    assert eight.memory_available == 24 * GIB
    assert 30 * GIB < one.memory.packed_weights < 36 * GIB
    assert eight.memory.packed_weights == -(-one.memory.packed_weights // 8)
    assert any("could not be checked" in note or "not checked" in note for note in eight.notes)


def test_a_proxy_cannot_be_divided(plan: MakePlan) -> None:
    settings = {"backend": Backend.QLORA, "qlora": QloraSpec(graph=QloraGraph.PROXY)}
    with pytest.raises(PlanError, match="MENS-P102"):
        plan(2, shard=ShardChoice.ALWAYS, **settings)
    assert not plan(2, **settings).ranks.is_divided


def test_a_run_here_needs_the_device_that_it_asks_for(cpu_machine: MachineFacts) -> None:
    sharing, place = SharingSettings(device_memory=2.0), RankPlace(size=2, local_size=2)
    run = with_ranks(cpu_machine, sharing, place)
    assert run == replace(
        cpu_machine,
        n_ranks=2,
        local_ranks=2,
        memory_bytes=4 * GIB,
        device_memory_bytes=2 * GIB,
        metal_memory_bytes=2 * GIB,
    )
    assert with_ranks(cpu_machine, sharing, place, is_run=False).has_cuda is None
