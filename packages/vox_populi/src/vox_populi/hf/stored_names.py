"""Names of a class's tensors in checkpoints, both ways, by transformers' own conversion mapping.

Most tensors are stored under a name of their own, often that in the class. Others are joined while
a folder is read: published mixtures have a matrix for each expert, and their classes hold all of a
layer in one tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from vox_populi import extras
from vox_populi.hf.transformers_classes import FAILURES, load_transformers

_NAMES_OF_EXPERTS: Mapping[object, frozenset[str]] = {
    "qwen2_moe": frozenset({"gate", "gate_proj", "up_proj", "down_proj"}),
    "mixtral": frozenset({"gate", "w1", "w2", "w3"}),
}

_STACKED = (("MergeModulelist", 0), ("Concatenate", 1))
"""Steps of a converter that puts experts on each other, and then their rows side by side."""


@dataclass(frozen=True, slots=True)
class StoredNames:
    """The tensors of a checkpoint that each tensor of a class is made of."""

    plain: Mapping[str, str] = field(default_factory=dict)
    """Name on disk of each tensor that is stored as it is, by its name in the class."""
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Shape on disk of every tensor, by its name there."""
    joined: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names on disk of the tensors that are joined, by the first name in the class."""
    stacked: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    """The joined tensors that are only stacked, one of each expert, a stack for each matrix."""


def stored_names(model: Any) -> StoredNames:
    """The names under which transformers publishes a model.

    Args:
        model: An instance of the class; its tensors need no values.
    """
    state = model.state_dict()
    own = {name: tuple(tensor.shape) for name, tensor in state.items()}
    conversions = _Conversions.of(model)
    if conversions is None:
        return StoredNames({name: name for name in own}, own)
    loading = extras.load("transformers.core_model_loading")
    try:
        stored = loading.revert_weight_conversion(model, state)
    except FAILURES:
        return StoredNames({name: name for name in own}, own)
    plain: dict[str, str] = {}
    joined: dict[str, list[str]] = {}
    by_pattern: dict[str, dict[Any, list[str]]] = {}
    for name in conversions.sorted(stored):
        target, pattern = conversions.target_of(name)
        if pattern is not None:
            joined.setdefault(target, []).append(name)
            by_pattern.setdefault(target, {}).setdefault(pattern, []).append(name)
        else:
            plain[target] = name
    return StoredNames(
        plain,
        {name: tuple(tensor.shape) for name, tensor in stored.items()},
        {name: tuple(parts) for name, parts in joined.items()},
        {
            target: tuple(tuple(found[pattern]) for pattern in patterns)
            for target, found in by_pattern.items()
            if (patterns := conversions.stacking(found))
        },
    )


def names_of_experts(model_type: str) -> frozenset[str]:
    """Last names of layers that PEFT takes for experts', whatever they are.

    PEFT 0.21 turns a target of such a name into one of the joined tensor, in model types whose
    experts are joined like Qwen 2's or Mixtral's.

    Args:
        model_type: As in a config.
    """
    load_transformers()
    patterns = extras.load("transformers.conversion_mapping")._MODEL_TO_CONVERSION_PATTERN
    kind = "mixtral" if model_type == "mixtral" else patterns.get(model_type)
    return _NAMES_OF_EXPERTS.get(kind, frozenset())


def join_tensors(model: Any, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Tensors of a class, made of those of a folder that belong together.

    Args:
        model: An instance of the class.
        parts: The tensors by their names on disk.
    """
    conversions = _Conversions.of(model)
    assert conversions is not None, "only a conversion joins tensors"
    converter, target = None, ""
    for name in conversions.sorted(parts):
        target, pattern = conversions.target_of(name)
        if converter is None:
            converter = deepcopy(conversions.by_pattern[pattern])
        converter.add_tensor(target, name, pattern, parts[name])
    assert converter is not None, "there are parts"
    made = converter.convert(target, model=model, config=model.config)
    return {name: each[0] if isinstance(each, list) else each for name, each in made.items()}


@dataclass(frozen=True, slots=True)
class _Conversions:
    """The mapping of a class, from names on disk to its own."""

    renamings: Sequence[Any]
    converters: Sequence[Any]
    by_pattern: Mapping[Any, Any]

    @classmethod
    def of(cls, model: Any) -> _Conversions | None:
        """The mapping, if the class has one; a prefix that a folder may lack is not part of it."""
        load_transformers()
        loading = extras.load("transformers.core_model_loading")
        mapping = extras.load("transformers.conversion_mapping")
        found = [
            each
            for each in mapping.get_model_conversion_mapping(model, add_legacy=False)
            if not isinstance(each, loading.PrefixChange)
        ]
        if not found:
            return None
        converters = [each for each in found if isinstance(each, loading.WeightConverter)]
        return cls(
            [each for each in found if isinstance(each, loading.WeightRenaming)],
            converters,
            {pattern: each for each in converters for pattern in each.source_patterns},
        )

    def target_of(self, name: str) -> tuple[str, Any]:
        """The name in the class, and what joins it with others if something does."""
        loading = extras.load("transformers.core_model_loading")
        found: tuple[str, Any] = loading.rename_source_key(name, self.renamings, self.converters)
        return found

    def stacking(self, patterns: Iterable[Any]) -> tuple[Any, ...]:
        """The patterns of tensors that are joined, in the order of their rows.

        Nothing if a converter does more than to stack experts and to put the stacks side by side.
        """
        found = {id(self.by_pattern[each]): self.by_pattern[each] for each in patterns}
        if len(found) != 1:
            return ()
        (converter,) = found.values()
        done = tuple((type(e).__name__, getattr(e, "dim", None)) for e in converter.operations)
        ordered = tuple(converter.source_patterns)
        is_plain = done == _STACKED[: len(done)] and len(done) == min(len(ordered), 2)
        is_whole = len(converter.target_patterns) == 1 and set(ordered) == set(patterns)
        return ordered if is_plain and is_whole else ()

    def sorted(self, names: Iterable[str]) -> list[str]:
        """Names in the order in which transformers joins them: experts by their numbers."""
        key = extras.load("transformers.core_model_loading").dot_natural_key
        return sorted(names, key=key)
