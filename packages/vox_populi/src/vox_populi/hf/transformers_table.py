"""Reading the tensors and linear layers off a class of transformers that has no values yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from vox_populi import extras
from vox_populi.errors import ModelError
from vox_populi.hf.experts_place import ExpertsPlace
from vox_populi.hf.foreign_experts import find_experts
from vox_populi.hf.module_roles import is_router, roles_of, usual_part
from vox_populi.hf.module_table import (
    PART,
    FrozenReason,
    FrozenWeight,
    ModuleTable,
    WholeExperts,
)
from vox_populi.hf.stored_names import StoredNames, names_of_experts, stored_names
from vox_populi.hf.tensor_key import AdapterModule, ProjectionRole, TensorKey
from vox_populi.hf.transformers_classes import ForeignClass, backbone_of, hollow_model
from vox_populi.hf.weight_reads import layers_read_by_weight
from vox_populi.operator_messages import transformers_graph as say

HEAD = "lm_head"
"""Our name of the head, and that of every class that can be used."""
_PLAIN_LINEARS = ("FalconLinear",)
"""Classes that compute what `nn.Linear` does."""
EMBED = "embed"
"""Our name of the embedding table."""


def read_module_table(found: ForeignClass, where: str) -> ModuleTable:
    """What a class of transformers consists of under a config.

    Args:
        found: The class and the config.
        where: Names the config's file in errors.

    Raises:
        ModelError: When the class cannot be built, or its parts are not where a graph needs them.
    """
    model = hollow_model(found, where)
    try:
        return _Reading.of(model, found).table()
    except _UnusableError as error:
        raise ModelError(say.class_unusable(where, found.class_name, str(error))) from None


class _UnusableError(Exception):
    """A class without the usual parts."""


@dataclass(frozen=True, slots=True)
class _Linear:
    """A linear layer of a class, wherever it is."""

    path: str
    in_features: int
    out_features: int
    is_conv1d: bool


@dataclass(frozen=True, slots=True)
class _Reading:
    """A model without values, and where its parts are."""

    model: Any
    found: ForeignClass
    embed: str
    blocks: str
    n_blocks: int
    linears: dict[str, _Linear]
    stored: StoredNames
    places: dict[str, ExpertsPlace]
    """Experts that are told apart, by the path of their module."""

    @classmethod
    def of(cls, model: Any, found: ForeignClass) -> _Reading:
        paths = {id(module): path for path, module in model.named_modules()}
        embed = paths.get(id(model.get_input_embeddings()))
        if embed is None:
            raise _UnusableError(say.NO_EMBEDDINGS)
        if paths.get(id(model.get_output_embeddings())) != HEAD:
            raise _UnusableError(say.NO_HEAD)
        blocks, n_blocks = _blocks(model, getattr(found.text, "num_hidden_layers", None))
        linears = {
            path: linear
            for path, module in model.named_modules()
            if (linear := _linear(path, module)) is not None
        }
        stored = stored_names(model)
        places = {
            place.path: place
            for place in find_experts(model, blocks, stored)
            if not found.is_nested or _is_named_in(place, blocks)
        }
        return cls(model, found, embed, blocks, n_blocks, linears, stored, places)

    def table(self) -> ModuleTable:
        """Everything of the class."""
        if not self.places:
            return self._table()
        left = replace(self, places={})._table()
        whole = WholeExperts(
            keys=left.keys,
            modules=left.modules,
            fused_keys=left.fused_keys,
            joined=left.joined,
            frozen=left.frozen,
        )
        return replace(self._table(), with_whole_experts=whole)

    def _table(self) -> ModuleTable:
        modules = tuple(self._modules())
        ours = {module.theirs: module.ours for module in modules}
        own = tuple(self._keys(ours))
        keys = tuple(self._stored_keys(own))
        return ModuleTable(
            class_name=self.found.class_name,
            version=self.found.version,
            embed=self.embed,
            blocks=self.blocks,
            keys=keys,
            fused_keys=() if keys == own else own,
            joined={
                name: parts
                for name, parts in self.stored.joined.items()
                if name.rpartition(".")[0] not in self.places
            },
            experts=tuple(self.places.values()),
            modules=modules,
            layer_kinds=self._kinds(),
            frozen=tuple(self._frozen(ours)),
            expert_names=names_of_experts(str(self.found.config.model_type)),
            has_position_table=self._has_position_table(),
            ties_head=self._ties_head(),
            text_path=self._text_path(),
            spellings=self._spellings(),
        )

    def _modules(self) -> Iterator[AdapterModule]:
        placed = [
            (linear, number, within)
            for linear in self.linears.values()
            if (place := self._in_block(linear.path)) is not None
            for number, within in [place]
            if roles_of(within)
            and not is_router(within, linear.out_features)
            and not self._is_read(linear.path)
            and f"{linear.path}.weight" in self.stored.plain
        ]
        usual = Counter((number, usual_part(within)) for _, number, within in placed)
        found: dict[str, AdapterModule] = {}
        for linear, number, within in placed:
            part = usual_part(within)
            # Two layers of a block with the same usual name keep their own ones.
            name = part if part is not None and usual[number, part] == 1 else within
            found[linear.path] = _module(linear, f"blocks.{number}.{name}", roles_of(within))
        for path, _ in self.model.named_modules():
            if path in found:
                yield found[path]
            elif path in self.places:
                yield from self.places[path].modules()
        yield _module(self.linears[HEAD], HEAD, (ProjectionRole.LM_HEAD,))

    def _keys(self, ours: dict[str, str]) -> Iterator[TensorKey]:
        state, is_tied = self.model.state_dict(), self._ties_head()
        heads = []
        for name, tensor in state.items():
            path, _, leaf = name.rpartition(".")
            place = self.places.get(path)
            if place is not None and leaf in place.tensors:
                if leaf == place.parts[0].tensor:
                    yield from place.tensor_keys()
                continue
            mine = EMBED if path == self.embed else ours.get(path, path)
            linear = self.linears.get(path)
            is_turned = linear is not None and linear.is_conv1d and leaf == "weight"
            key = TensorKey(f"{mine}.{leaf}", name, tuple(tensor.shape), is_turned, required=True)
            if path == HEAD:
                heads.append(replace(key, required=leaf != "weight" or not is_tied))
            else:
                yield key
        yield from heads

    def _stored_keys(self, own: tuple[TensorKey, ...]) -> Iterator[TensorKey]:
        """The tensors as checkpoints have them, the parts of a joined one in its place."""
        shapes = self.stored.shapes
        of_experts = {key.ours for place in self.places.values() for key in place.tensor_keys()}
        for key in own:
            if key.ours in of_experts:
                yield key
                continue
            name = self.stored.plain.get(key.theirs)
            if name is not None:
                theirs = key.theirs if self.found.is_nested else name
                yield replace(key, theirs=theirs, shape=shapes[name])
            for number, part in enumerate(self.stored.joined.get(key.theirs, ())):
                mine = f"{key.ours}{PART}{number}"
                yield TensorKey(mine, part, shapes[part], transposed=False, required=True)

    def _frozen(self, ours: dict[str, str]) -> Iterator[FrozenWeight]:
        """Matrices of the blocks that no adapter can be put on."""
        for name, tensor in self.model.named_parameters():
            path, place = name.rpartition(".")[0], self._in_block(name)
            if place is None or tensor.dim() < 2 or path in ours:
                continue
            if path in self.places:
                continue
            linear = self.linears.get(path)
            if linear is not None and is_router(place[1].rpartition(".")[0], linear.out_features):
                reason = FrozenReason.ROUTER
            elif ".experts." in f".{place[1]}.":
                reason = FrozenReason.EXPERTS
            elif linear is None and not _is_mixing_matrix(place[1]):
                continue
            else:
                reason = FrozenReason.ROUTER if _is_router_weight(place[1]) else FrozenReason.OTHER
            yield FrozenWeight(name, reason, prod(tensor.shape))

    def _ties_head(self) -> bool:
        """Whether the head is the embedding table.

        Of classes around a text model each has its own rule for which of its configs says so.
        """
        if not self.found.is_nested:
            return bool(getattr(self.found.config, "tie_word_embeddings", False))
        table, head = self.model.get_input_embeddings(), self.model.get_output_embeddings()
        return table.weight is head.weight

    def _text_path(self) -> str:
        if not self.found.is_nested:
            return ""
        text = backbone_of(self.model)
        named = self.model.named_modules()
        return str(next(path for path, module in named if module is text))

    def _spellings(self) -> dict[str, str]:
        """Names on disk of a text model's tensors, and those in the class; parts have no others."""
        if not self.found.is_nested:
            return {}
        parts = (name for names in self.stored.joined.values() for name in names)
        whole = {stored: own for own, stored in self.stored.plain.items()}
        return whole | {name: name for name in parts}

    def _kinds(self) -> tuple[str, ...]:
        kinds = getattr(self.found.text, "layer_types", None)
        if isinstance(kinds, list | tuple) and len(kinds) == self.n_blocks:
            return tuple(map(str, kinds))
        return ("block",) * self.n_blocks

    def _is_read(self, path: str) -> bool:
        """Whether the class reads the weight of a layer, in place of calling the layer."""
        parent, _, leaf = path.rpartition(".")
        return leaf in layers_read_by_weight(self.model.get_submodule(parent).__class__)

    def _has_position_table(self) -> bool:
        embedding = extras.load("torch").nn.Embedding
        return any(
            (isinstance(module, embedding) and path != self.embed and self._in_block(path) is None
            and "position" in path) or path.endswith(".wpe")
            for path, module in self.model.named_modules()
        )  # fmt: skip

    def _in_block(self, path: str) -> tuple[int, str] | None:
        """Number of the block, and the path within it."""
        if not path.startswith(self.blocks):
            return None
        number, _, within = path.removeprefix(self.blocks).partition(".")
        return (int(number), within) if within else None


def _is_named_in(place: ExpertsPlace, blocks: str) -> bool:
    """Whether experts are published under names in the blocks as the class has them.

    Those of a text model that is published under another prefix stay whole.
    """
    each = (name for names in place.published.values() for name in names)
    return all(name.startswith(blocks) for name in (*each, *place.stored.values()))


def _module(linear: _Linear, ours: str, roles: tuple[ProjectionRole, ...]) -> AdapterModule:
    return AdapterModule(
        ours=ours,
        theirs=linear.path,
        roles=roles,
        in_features=linear.in_features,
        out_features=linear.out_features,
        fan_in_fan_out=linear.is_conv1d,
    )


def _linear(path: str, module: Any) -> _Linear | None:
    """A module as a linear layer, if it is one and nothing more."""
    kind = type(module)
    if kind is extras.load("torch").nn.Linear or kind.__name__ in _PLAIN_LINEARS:
        return _Linear(path, module.in_features, module.out_features, is_conv1d=False)
    if kind.__name__ == "Conv1D" and kind.__module__ == "transformers.pytorch_utils":
        n_in, n_out = module.weight.shape
        return _Linear(path, n_in, n_out, is_conv1d=True)
    return None


def _blocks(model: Any, n_layers: int | None) -> tuple[str, int]:
    """Prefix and number of the blocks: the first list with an entry for each layer."""
    module_list = extras.load("torch").nn.ModuleList
    for path, module in model.named_modules():
        if isinstance(module, module_list) and len(module) == n_layers:
            return f"{path}.", len(module)
    raise _UnusableError(say.NO_BLOCKS)


def _is_router_weight(within: str) -> bool:
    """Whether a weight outside the linear layers belongs to a router."""
    return within.split(".")[-2:-1] in (["gate"], ["router"])


def _is_mixing_matrix(within: str) -> bool:
    """Whether a weight outside the linear layers mixes features as they do."""
    return _is_router_weight(within)
