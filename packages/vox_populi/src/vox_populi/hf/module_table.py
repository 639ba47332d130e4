"""The tensors and linear layers of a class in transformers: what a family file says of ours.

Read from an instance without weights (`hf/transformers_table.py`); no torch here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from vox_populi.hf.experts_place import ExpertsPlace
from vox_populi.hf.tensor_key import AdapterModule, ProjectionRole, TensorKey


class FrozenReason(StrEnum):
    """Why a weight of a block cannot carry an adapter."""

    ROUTER = "routers"
    EXPERTS = "experts"
    """Several matrices in one tensor."""
    OTHER = "other layers"
    """Linear layers whose name says no role."""


@dataclass(frozen=True, slots=True)
class FrozenWeight:
    """A weight of a block with two or more dimensions that no adapter can be put on."""

    theirs: str
    reason: FrozenReason
    values: int

    @property
    def path(self) -> str:
        """The path of its module."""
        return self.theirs.rpartition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeExperts:
    """What of a table is otherwise where a class's own tensors of experts stay, and stay frozen."""

    keys: tuple[TensorKey, ...]
    modules: tuple[AdapterModule, ...]
    fused_keys: tuple[TensorKey, ...]
    joined: Mapping[str, tuple[str, ...]]
    frozen: tuple[FrozenWeight, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleTable:
    """Everything of a class in transformers that is needed before its weights are."""

    class_name: str
    """Such as `Glm4ForCausalLM`."""
    version: str
    """The version of transformers."""
    embed: str
    """Module path of the embedding table."""
    blocks: str
    """Prefix before the number of a block, with its dot."""
    keys: tuple[TensorKey, ...]
    """Every tensor of a checkpoint, in forward order, the head last."""
    modules: tuple[AdapterModule, ...]
    """Every projection that can carry an adapter, in forward order, `lm_head` last."""
    layer_kinds: tuple[str, ...]
    """What each block is, such as `full_attention`."""
    fused_keys: tuple[TensorKey, ...] = ()
    """The same under the names of the class, where these are others; folders may have either."""
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names on disk of the tensors that are joined to one of the class, by the name of that."""
    frozen: tuple[FrozenWeight, ...] = ()
    experts: tuple[ExpertsPlace, ...] = ()
    """Experts that are in `modules` one by one, though the class holds a layer's together."""
    with_whole_experts: WholeExperts | None = field(default=None, repr=False)
    expert_names: frozenset[str] = frozenset()
    """Last names of layers that PEFT takes for experts', wherever they are in this model type."""
    has_position_table: bool = False
    """Whether positions are rows of a learned table."""
    ties_head: bool = False
    """Whether the config says that the head is the embedding table."""
    text_path: str = ""
    """Module path of the text model in a class that holds more; nothing for one that does not."""
    spellings: Mapping[str, str] = field(default_factory=dict)
    """Names of such a model's tensors in the class by those in published folders."""

    def for_names(self, stored: Iterable[str]) -> ModuleTable:
        """The table whose names a folder has: those of checkpoints, or those of the class."""
        names = frozenset(self.spellings.get(name, name) for name in stored)
        found = [
            sum(key.theirs in names for key in keys) / len(keys)
            for keys in (self.keys, self.fused_keys or self.keys)
        ]
        return self if found[0] >= found[1] else replace(self, keys=self.fused_keys, joined={})

    def leaving_experts(self) -> ModuleTable:
        """The table of adapters that were trained before experts could be: theirs are frozen."""
        whole = self.with_whole_experts
        if whole is None:
            return self
        return replace(
            self,
            keys=whole.keys,
            modules=whole.modules,
            fused_keys=whole.fused_keys,
            joined=whole.joined,
            frozen=whole.frozen,
            experts=(),
            with_whole_experts=None,
        )

    def spelled_like(self, name: str, other: str) -> str:
        """A name in the class as in a folder that has `other` for another tensor."""
        if self.spellings.get(other, other) == other:
            return name
        return next((each for each, own in self.spellings.items() if own == name), name)

    def roles_of_kind(self) -> dict[str, frozenset[ProjectionRole]]:
        """The roles that the blocks of each kind have, in forward order."""
        found: dict[str, set[ProjectionRole]] = {kind: set() for kind in self.layer_kinds}
        for module in self.modules:
            number = block_number(module.ours)
            if number is not None:
                found[self.layer_kinds[number]].update(module.roles)
        return {kind: frozenset(roles) for kind, roles in found.items()}

    @property
    def adaptable_values(self) -> int:
        """Values of the matrices in blocks that can carry an adapter."""
        return sum(
            m.in_features * m.out_features for m in self.modules if block_number(m.ours) is not None
        )

    def frozen_values(self) -> dict[FrozenReason, int]:
        """Values of the matrices in blocks that cannot, by the reason."""
        found: dict[FrozenReason, int] = {}
        for each in self.frozen:
            found[each.reason] = found.get(each.reason, 0) + each.values
        return found


PART = "@"
"""Between our name of a joined tensor and the number of a part."""


def block_number(ours: str) -> int | None:
    """The block of a module by our name of it; `None` outside the blocks."""
    if not ours.startswith("blocks."):
        return None
    return int(ours.split(".", 2)[1])
