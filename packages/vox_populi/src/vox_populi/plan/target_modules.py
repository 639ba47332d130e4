"""Choosing the layers that get an adapter from requested roles: all of them, or why not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vox_populi.contract.adapter_target import TargetRoles, WholeBlocks
from vox_populi.hf.keymap import AdapterModule, ProjectionRole, adapter_modules
from vox_populi.hf.model_config import ModelConfig
from vox_populi.hf.module_table import ModuleTable
from vox_populi.operator_messages import plan as say
from vox_populi.operator_messages import transformers_graph as say_foreign
from vox_tensor.errors import Problem


@dataclass(frozen=True, slots=True)
class TargetModules:
    """Either the layers to adapt, in forward order, or what is wrong with the request."""

    modules: tuple[AdapterModule, ...]
    problems: tuple[Problem, ...] = ()


def select_adapters(config: ModelConfig, targets: TargetRoles | None) -> TargetModules:
    """Find every layer of the base model that a request selects.

    A role that no layer has is an error, since part of the adapter would silently be missing. So
    is a part of a fused layer (GPT-2's `c_attn` is q, k and v in one matrix): an adapter over all
    of it would train more than was requested, and neither PEFT nor any other reader can represent
    one over a slice of its rows.
    """
    available = adapter_modules(config)
    wanted = _wanted_roles(available, targets)
    problems: list[Problem] = []
    offered = _roles_of(available)
    unmatched = [role for role in wanted if role not in offered]
    if unmatched:
        problems.append(say.targets_unmatched(unmatched, config.model_type, offered))
    for fused in dict.fromkeys(module.roles for module in available):
        named = [role for role in fused if role in wanted]
        if 0 < len(named) < len(fused):
            layer = next(module.theirs for module in available if module.roles == fused)
            whole = [role for role in offered if role in fused or role in wanted]
            problems.append(say.targets_split_fused_layer(named, fused, layer, whole))
    if config.modules is not None and targets is not None:
        problems.extend(_gaps(config.modules, targets))
    if problems:
        return TargetModules((), tuple(problems))
    return TargetModules(tuple(m for m in available if set(m.roles) & set(wanted)))


def _gaps(table: ModuleTable, targets: TargetRoles) -> Iterator[Problem]:
    """Roles that were named and that blocks of some kind do not have."""
    named = [role for role in targets if isinstance(role, ProjectionRole)]
    for kind, roles in table.roles_of_kind().items():
        absent = [r for r in named if r is not ProjectionRole.LM_HEAD and r not in roles]
        if absent:
            yield say_foreign.targets_unmatched_in_kind(absent, kind, sorted(roles))


def coverage_notes(config: ModelConfig) -> Iterator[str]:
    """What of the blocks can carry no adapter, in a model that transformers computes."""
    table = config.modules
    if table is None or not table.frozen:
        return
    frozen = table.frozen_values()
    total = table.adaptable_values + sum(frozen.values())
    shares = {reason.value: values / total for reason, values in frozen.items()}
    yield say_foreign.note_frozen(shares, [each.theirs for each in table.frozen])


def _wanted_roles(
    available: tuple[AdapterModule, ...], targets: TargetRoles | None
) -> tuple[ProjectionRole, ...]:
    named = tuple(role for role in targets or () if isinstance(role, ProjectionRole))
    if targets is not None and WholeBlocks.ALL not in targets:
        return named
    in_blocks = (role for role in _roles_of(available) if role is not ProjectionRole.LM_HEAD)
    return tuple(dict.fromkeys((*in_blocks, *named)))


def _roles_of(modules: tuple[AdapterModule, ...]) -> tuple[ProjectionRole, ...]:
    return tuple(dict.fromkeys(role for module in modules for role in module.roles))
