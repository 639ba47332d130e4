"""Which graph a request trains on a base, and which layers of it carry an adapter.

Decides from config and inventory alone; what a graph lacks is named, never left out silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from vox_populi.contract.choices import Backend, DeviceKind, GraphId
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import QloraGraph
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.kept_bytes import KeptByBlocks
from vox_populi.hf.keymap import AdapterModule, ProjectionRole, adapter_modules
from vox_populi.hf.model_config import ModelConfig
from vox_populi.operator_messages import plan as say_plan
from vox_populi.operator_messages import quantize as say_quantize
from vox_populi.plan.packing_proof_facts import PackingProof
from vox_populi.plan.target_modules import coverage_notes, select_adapters
from vox_tensor.errors import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyPlan:
    """The middle layers of a proxy graph: which are trained, and which the base has."""

    middle: tuple[AdapterModule, ...]
    """Layers that are trained, in key order; none for the LM head alone."""
    eligible: bool
    """Whether this family's output projections are square at these sizes, as the stack needs."""
    expected: int
    """Output projections of a complete stack."""
    matched: int
    """Number of expected projections that exist and are square."""
    missing: tuple[str, ...]
    """Hugging Face names of the missing ones."""

    @property
    def is_complete(self) -> bool:
        """Whether every output projection could be used."""
        return self.matched == self.expected


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphChoice:
    """What is trained, and what the operator should know about it."""

    graph: GraphId
    objective_note: str
    adapters: tuple[AdapterModule, ...]
    """In forward order."""
    proxy: ProxyPlan | None = None
    notes: tuple[str, ...] = ()
    proof: PackingProof | None = None
    """What was measured of a class of transformers that computes the full graph."""
    kept: Callable[[str, int], KeptByBlocks | None] | None = None
    """What the blocks of that class keep of a row, by the compute dtype and the row's tokens."""
    problems: tuple[Problem, ...] = ()
    """What of the request this base cannot meet. While there is any, nothing may be trained, and
    the rest says what would be if it were met."""


def choose_graph(contract: FinetuneContract, inventory: ModelInventory) -> GraphChoice:
    """Pick graph and layers, and find everything that is in the way of them."""
    if is_proxy(contract):
        return _proxy_choice(contract, inventory, middle_stack(inventory))
    selection = select_adapters(inventory.config, contract.targets)
    problems = (*selection.problems, *_base_problems(contract, inventory))
    if contract.backend is Backend.LORA:
        return GraphChoice(
            graph=GraphId.FULL,
            objective_note=f"burn_lora_masked_{contract.text.template}_ce",
            adapters=selection.modules,
            notes=tuple(coverage_notes(inventory.config)),
            problems=problems,
        )
    width = contract.ce_last_k
    suffix = "full_assistant_ce" if width is None else f"k{width}"
    notes = list(coverage_notes(inventory.config))
    if contract.qlora.allow_partial_proxy_stack:
        reason = "the full graph is trained"
        notes.append(say_plan.note_no_effect("--qlora-allow-partial-proxy-stack", reason))
    return GraphChoice(
        graph=GraphId.FULL,
        objective_note=f"candle_qlora_full_graph_{suffix}",
        adapters=selection.modules,
        notes=tuple(notes),
        problems=problems,
    )


def target_problems(contract: FinetuneContract, config: ModelConfig) -> tuple[Problem, ...]:
    """What is wrong with the targets, of a base whose weights cannot be looked at."""
    return () if is_proxy(contract) else select_adapters(config, contract.targets).problems


def _base_problems(contract: FinetuneContract, inventory: ModelInventory) -> Iterator[Problem]:
    """What the base lacks for the full graph, or has in a form that the backend cannot use."""
    where = str(inventory.model_dir)
    if contract.backend is Backend.LORA:
        if inventory.nf4:
            yield say_quantize.FOLDER_IS_QUANTIZED.at(where)
    elif inventory.missing:
        yield say_plan.full_graph_incomplete(inventory.missing).at(where)


def _stack_problems(contract: FinetuneContract, where: str, stack: ProxyPlan) -> Iterator[Problem]:
    if contract.requires_full_stack and stack.missing:
        if stack.eligible:
            yield say_plan.proxy_stack_incomplete(stack.missing, stack.expected).at(where)
        else:
            yield say_plan.proxy_stack_not_square(stack.missing).at(where)


def is_proxy(contract: FinetuneContract) -> bool:
    """Whether a request trains a proxy graph."""
    is_qlora = contract.backend is Backend.QLORA
    return is_qlora and contract.qlora.resolved_graph is QloraGraph.PROXY


def middle_stack(inventory: ModelInventory) -> ProxyPlan:
    """Every output projection that a base has for the proxy; nothing of it is chosen yet."""
    wanted = [m for m in adapter_modules(inventory.config) if m.roles == (ProjectionRole.O,)]
    is_square = all(m.in_features == m.out_features for m in wanted)
    stored = inventory.tensors.keys() | inventory.nf4.keys()
    found = tuple(m for m in wanted if is_square and f"{m.theirs}.weight" in stored)
    return ProxyPlan(
        middle=found,
        eligible=is_square,
        expected=len(wanted),
        matched=len(found),
        missing=tuple(f"{m.theirs}.weight" for m in wanted if m not in found),
    )


def _proxy_choice(
    contract: FinetuneContract, inventory: ModelInventory, stack: ProxyPlan
) -> GraphChoice:
    spec = contract.qlora
    notes = list(_proxy_notes(contract, stack))
    middle = stack.middle if stack.is_complete and not spec.wants_head_only else ()
    middle = middle[: spec.proxy_max_layers]
    width = contract.ce_last_k
    assert width is not None, "a proxy request says how much it learns"
    notes.append(say_plan.note_proxy_objective(width))
    return GraphChoice(
        graph=GraphId.PROXY_STACK if middle else GraphId.HEAD_ONLY,
        objective_note=f"candle_qlora_proxy_v1_k{width}",
        adapters=(*middle, _head(inventory.config)),
        proxy=replace(stack, middle=middle),
        notes=tuple(notes),
        problems=tuple(_stack_problems(contract, str(inventory.model_dir), stack)),
    )


def _proxy_notes(contract: FinetuneContract, stack: ProxyPlan) -> Iterator[str]:
    spec = contract.qlora
    if not stack.is_complete and not spec.wants_head_only:
        if stack.eligible:
            yield say_plan.note_head_only(stack.missing, stack.expected)
        else:
            yield say_plan.note_head_only_not_square(stack.missing)
    if contract.requires_full_stack and not spec.require_full_proxy_stack:
        yield say_plan.NOTE_STRICT_ON_CUDA
    if spec.allow_partial_proxy_stack and contract.compute.device is not DeviceKind.CUDA:
        reason = "only --device cuda refuses an incomplete stack by itself"
        yield say_plan.note_no_effect("--qlora-allow-partial-proxy-stack", reason)
    most = spec.proxy_max_layers
    if most is not None and most > stack.matched:
        reason = f"{stack.matched} middle layers are there"
        yield say_plan.note_no_effect(f"--qlora-proxy-max-layers {most}", reason)
    if contract.targets is not None:
        reason = "the proxy graph adapts its output projections and the LM head"
        yield say_plan.note_no_effect("--targets", reason)


def _head(config: ModelConfig) -> AdapterModule:
    return adapter_modules(config)[-1]
