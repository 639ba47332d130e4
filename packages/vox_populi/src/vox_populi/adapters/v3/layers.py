"""Matching the layers of a source system's adapter with a base: names, keys and sizes must agree.

Shape letters: R rank, I input features, O output features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from vox_populi.adapters.adapter import Adapter
from vox_populi.adapters.header import (
    AdaptedModule,
)
from vox_populi.adapters.v3.facts import AdapterFacts
from vox_populi.adapters.v3.names import HALVES, logical_names, ours_of_full
from vox_populi.contract.choices import GraphId
from vox_populi.errors import ArtifactError
from vox_populi.hf.keymap import (
    HEAD,
    HEAD_WEIGHT,
    AdapterModule,
    ProjectionRole,
    adapter_modules,
    canonical_name,
    embedding_key,
)
from vox_populi.hf.model_config import ModelConfig
from vox_populi.operator_messages import export as say_export
from vox_populi.operator_messages.tensors import SIDECAR, tensor_misshaped
from vox_tensor.errors import Problem


def place_source_adapter(
    adapter: Adapter, facts: AdapterFacts, config: ModelConfig, where: str
) -> Adapter:
    """A source system's adapter under our names, with every layer matched to a base.

    Args:
        adapter: The adapter as read.
        facts: The facts of its sidecar.
        config: The base's config.
        where: The adapter's file, for messages.

    Raises:
        ArtifactError: For layers that the base does not have, that refer to a different tensor, or
            whose sizes do not match the base.
    """
    graph = facts.graph
    if graph is None:
        reason = "they are not the layers of one graph"
        raise ArtifactError(say_export.layers_unlike_base(facts.layer_order, reason).at(where))
    problems = list(_size_problems(facts, config, where))
    found = {name: _module_of(name, facts, graph, config) for name in facts.layer_order}
    lacking = [name for name, module in found.items() if module is None]
    if lacking:
        reason = "the base has no such projection under that key"
        problems.append(say_export.layers_unlike_base(lacking, reason).at(where))
    placed = {name: module for name, module in found.items() if module is not None}
    problems += _shape_problems(placed, adapter, where)
    if problems:
        raise ArtifactError(*problems)
    names = {module.ours: name for name, module in placed.items()}
    modules = {
        names[module.ours]: AdaptedModule.of(module)
        for module in adapter_modules(config)
        if module.ours in names
    }
    _require_same_names(graph, tuple(modules.values()), placed, where)
    return adapter.with_modules(modules)


def _size_problems(facts: AdapterFacts, config: ModelConfig, where: str) -> Iterator[Problem]:
    for name, stated, size in (
        ("vocab", facts.vocab, config.vocab_size),
        ("d_model", facts.d_model, config.hidden_size),
    ):
        if stated != size:
            reason = f"{name} is {stated} there and {size} in the base"
            yield say_export.layers_unlike_base(facts.layer_order, reason).at(where)


def _module_of(
    name: str, facts: AdapterFacts, graph: GraphId, config: ModelConfig
) -> AdapterModule | None:
    """The projection that a layer's name and key both mean, or `None`."""
    key = canonical_name(config, facts.base_key_map[name])
    modules = {module.ours: module for module in adapter_modules(config)}
    if name == HEAD:
        return modules[HEAD] if key in (HEAD_WEIGHT, embedding_key(config)) else None
    if graph == GraphId.FULL:
        module = modules.get(ours_of_full(name) or "")
        return module if module is not None and key == f"{module.theirs}.weight" else None
    output = (ProjectionRole.O,)
    by_key = {f"{module.theirs}.weight": module for module in modules.values()}
    module = by_key.get(key)
    return module if module is not None and module.roles == output else None


def _shape_problems(
    placed: Mapping[str, AdapterModule], adapter: Adapter, where: str
) -> Iterator[Problem]:
    rank = adapter.header.lora.rank
    for name, module in placed.items():
        expected = ((rank, module.in_features), (module.out_features, rank))
        for (half, _), tensor, shape in zip(HALVES, adapter.pair(name), expected, strict=True):
            found = tuple(tensor.shape)
            if found != shape:
                yield tensor_misshaped(SIDECAR, where, name + half, found, shape)


def _require_same_names(
    graph: GraphId,
    modules: tuple[AdaptedModule, ...],
    placed: Mapping[str, AdapterModule],
    where: str,
) -> None:
    """Refuse middle blocks that are not numbered in the order of their layers.

    Raises:
        ArtifactError: With these blocks.
    """
    names = logical_names(graph, modules)
    moved = [name for name, module in placed.items() if names[module.ours] != name]
    if moved:
        assert graph == GraphId.PROXY_STACK, (
            "layers of the full graph carry their place in their names"
        )
        reason = "they are not numbered in the order of the base's layers"
        raise ArtifactError(say_export.layers_unlike_base(moved, reason).at(where))
