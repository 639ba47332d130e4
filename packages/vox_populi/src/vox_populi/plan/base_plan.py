"""How the frozen base of a run is held, and the memory of a step with it. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from vox_populi.containers.dtypes import BYTES_OF_VALUE
from vox_populi.contract.choices import ActivationMemoryChoice, Backend, ShardChoice
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import DenseCopiesChoice
from vox_populi.hf.inventory import ModelInventory
from vox_populi.operator_messages import plan as say_plan
from vox_populi.operator_messages import quantize as say_qlora
from vox_populi.operator_messages import ranks as say_ranks
from vox_populi.operator_messages import transformers_graph as say_foreign
from vox_populi.plan.class_memory import class_memory
from vox_populi.plan.device_choice import DeviceChoice
from vox_populi.plan.divided_memory import base_parts, divided_memory
from vox_populi.plan.graph_choice import GraphChoice, is_proxy
from vox_populi.plan.memory_estimate import (
    MemoryEstimate,
    PackedBase,
    WorkingSet,
    estimate_memory,
    estimate_proxy_memory,
)
from vox_populi.plan.nf4_plan import (
    Nf4Layout,
    QuantPlan,
    choose_dense_copies,
    nf4_layout,
    packed_nf4_bytes,
    quant_plan,
)
from vox_populi.plan.rank_plan import is_divided
from vox_tensor.errors import Problem


class WorkPlace(NamedTuple):
    """The device and the processes that compute a step."""

    device: DeviceChoice
    tokens: int
    """Most tokens of a window."""
    size: int = 1
    """Processes that share the run."""
    kept: ActivationMemoryChoice = ActivationMemoryChoice.NONE
    """What the blocks keep for the backward pass."""
    row: int = 0
    """Tokens of the longest row."""


class BasePlan(NamedTuple):
    """A base in memory."""

    memory: MemoryEstimate
    """Memory of one process."""
    quant: QuantPlan | None
    is_divided: bool
    """Whether the processes divide it among them."""
    notes: tuple[str, ...]


def plan_base(
    contract: FinetuneContract, inventory: ModelInventory, chosen: GraphChoice, place: WorkPlace
) -> BasePlan:
    """Decide whether the base is divided, and for how long dense copies are kept.

    Args:
        contract: The request.
        inventory: The base.
        chosen: The graph and its layers.
        place: Where a step is computed.
    """
    is_quantised = contract.backend is Backend.QLORA
    layout = nf4_layout(contract, inventory, chosen) if is_quantised else None
    whole = _whole(contract, inventory, chosen, place, layout)
    asked, available = contract.sharing.shard, place.device.memory_bytes
    is_whole = chosen.proxy is not None or chosen.proof is not None
    if is_whole or not is_divided(asked, place.size, whole.memory.total, available):
        notes = whole.notes
        if asked is ShardChoice.ALWAYS and place.size == 1:
            notes = (*notes, say_plan.note_no_effect("--shard always", "there is one process"))
        return whole._replace(memory=_with_exchange(whole.memory, place.size), notes=notes)
    packed: dict[str, int] = {}
    if layout is not None:
        whole = _whole(contract, inventory, chosen, place, layout, DenseCopiesChoice.NONE)
        packed = {
            m.ours: packed_nf4_bytes(m.in_features * m.out_features, layout.settings)
            for m in layout.modules
        }
    device, size = place.device.device, BYTES_OF_VALUE[place.device.compute_dtype]
    parts = base_parts(inventory, packed, size, device)
    memory = divided_memory(whole.memory, parts, place.size, device)
    memory = _with_exchange(memory, place.size)
    return whole._replace(memory=memory, is_divided=True)


def division_problems(
    contract: FinetuneContract, chosen: GraphChoice, size: int
) -> Iterator[Problem]:
    """A problem for a graph that processes cannot hold together."""
    if size > 1 and contract.sharing.shard is ShardChoice.ALWAYS and chosen.proof is not None:
        yield say_foreign.not_divided()
    if size > 1 and contract.sharing.shard is ShardChoice.ALWAYS and is_proxy(contract):
        yield say_ranks.PROXY_NOT_DIVIDED


def _whole(
    contract: FinetuneContract,
    inventory: ModelInventory,
    chosen: GraphChoice,
    place: WorkPlace,
    layout: Nf4Layout | None,
    forced: DenseCopiesChoice | None = None,
) -> BasePlan:
    """The plan of a process that has the whole base."""
    device = place.device
    config, modules, lora = inventory.config, chosen.adapters, contract.lora
    optimizer = contract.optimization.optimizer
    work = WorkingSet(place.tokens, device.compute_dtype, device.device, kept=place.kept)
    if layout is None:
        memory = estimate_memory(config, modules, lora, work, optimizer=optimizer)
        memory = _of_class(memory, contract, inventory, chosen, place)
        return BasePlan(memory, None, is_divided=False, notes=())
    copies = layout.dense_copy_bytes(BYTES_OF_VALUE[device.compute_dtype])
    estimate = estimate_memory if chosen.proxy is None else estimate_proxy_memory

    def with_copies(policy: DenseCopiesChoice) -> MemoryEstimate:
        packed = PackedBase(
            values=layout.n_values,
            packed_bytes=layout.packed_bytes,
            dense_copies=copies[policy],
        )
        memory = estimate(config, modules, lora, work, packed, optimizer)
        return _of_class(memory, contract, inventory, chosen, place)

    asked = forced or contract.qlora.dense_copies
    step_total = with_copies(DenseCopiesChoice.STEP).total
    policy = choose_dense_copies(asked, step_total, device.memory_bytes)
    quant = quant_plan(layout, contract.qlora, policy, tuple(copies.items()))
    notes = (*layout.notes, say_qlora.note_dense_copies(policy, quant.dense_copy_bytes))
    return BasePlan(with_copies(policy), quant, is_divided=False, notes=notes)


def _of_class(
    memory: MemoryEstimate,
    contract: FinetuneContract,
    inventory: ModelInventory,
    chosen: GraphChoice,
    place: WorkPlace,
) -> MemoryEstimate:
    """The estimate, for a class of transformers by what its blocks keep."""
    if chosen.kept is None:
        return memory
    device, row = place.device, min(place.row or place.tokens, place.tokens)
    work = WorkingSet(place.tokens, device.compute_dtype, device.device, kept=place.kept)
    masked = chosen.adapters if contract.lora.dropout else ()
    kept = chosen.kept(device.compute_dtype, row)
    return class_memory(memory, inventory.config, masked, work, kept)


def _with_exchange(memory: MemoryEstimate, size: int) -> MemoryEstimate:
    return replace(memory, exchange=3 * memory.gradients if size > 1 else 0)
