"""Finding the experts of a class of transformers whose projections can be told apart.

A class can be used whose experts go through the library's interface for them
(`use_experts_implementation`): it says how their tensors are laid out, and calls a function that
can be registered. Experts of any other class stay as they are. Letters: N experts, X width of an
expert, D model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vox_populi.hf.experts_place import ExpertPart, ExpertsPlace
from vox_populi.hf.stored_names import StoredNames
from vox_populi.hf.tensor_key import ProjectionRole

_R = ProjectionRole
_FACTS = ("has_gate", "has_bias", "has_post_expert_norm", "is_transposed", "is_concatenated")
"""What the interface says of a layer's experts."""
_PUBLISHED = {"gate": "gate_proj", "up": "up_proj", "down": "down_proj", "gate_up": "gate_up_proj"}
"""Names of an expert's projections where no checkpoint has them one by one."""
_PER_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "moe_topk", "moe_k")


def find_experts(model: Any, blocks: str, stored: StoredNames) -> tuple[ExpertsPlace, ...]:
    """The experts of every layer that has some; nothing if those of one layer cannot be used.

    Args:
        model: An instance of the class; its tensors need no values.
        blocks: Prefix before the number of a block, with its dot.
        stored: What its tensors are called on disk.
    """
    places = []
    for path, module in model.named_modules():
        if not (path.startswith(blocks) and _is_mixture(module)):
            continue
        number = path.removeprefix(blocks).partition(".")[0]
        place = _place(path, f"blocks.{number}.mlp.experts", module, stored)
        if place is None:
            return ()
        places.append(place)
    is_alike = len({(place.count, place.parts) for place in places}) <= 1
    has_one_each = len({place.ours for place in places}) == len(places)
    return tuple(places) if is_alike and has_one_each else ()


def experts_per_token(config: Any, count: int) -> int:
    """How many experts compute a token; all if the config does not say it.

    Args:
        config: The config of a class of transformers.
        count: The experts of a layer.
    """
    for name in _PER_TOKEN:
        value = getattr(config, name, None)
        if isinstance(value, int) and 0 < value <= count:
            return value
    return count


def _is_mixture(module: Any) -> bool:
    """Whether a module has tensors with all experts of a layer."""
    return hasattr(module, "down_proj") and getattr(module.down_proj, "ndim", 0) == 3


def _place(path: str, ours: str, module: Any, stored: StoredNames) -> ExpertsPlace | None:
    if not all(hasattr(module, name) for name in _FACTS) or module.has_post_expert_norm:
        return None
    tensors = {name: tuple(each.shape) for name, each in module.named_parameters(recurse=False)}
    parts = tuple(_parts(module, tensors))
    wanted = {part.tensor for part in parts}
    biases = {f"{name}_bias" for name in wanted} if module.has_bias else set()
    if not parts or tensors.keys() != wanted | biases:
        return None
    names = _names(path, parts, tensors["down_proj"][0], stored)
    if names is None:
        return None
    return ExpertsPlace(
        path=path,
        ours=ours,
        count=tensors["down_proj"][0],
        parts=parts,
        is_transposed=module.is_transposed,
        published=names,
        stored={
            part.tensor: stored.plain[f"{path}.{part.tensor}"]
            for part in parts
            if f"{path}.{part.tensor}" in stored.plain
        },
    )


def _parts(module: Any, tensors: Mapping[str, tuple[int, ...]]) -> Iterator[ExpertPart]:
    """The projections of an expert, if the tensors have the shapes that the interface knows."""
    first = "gate_up_proj" if module.has_gate else "up_proj"
    if first not in tensors or "down_proj" not in tensors:
        return
    (n, a, b), (n_down, c, d) = tensors[first], tensors["down_proj"]
    inner, width = (b, a) if module.is_transposed else (a, b)
    x, d_out = (c, d) if module.is_transposed else (d, c)
    if n != n_down or width != d_out or inner != (2 if module.has_gate else 1) * x:
        return
    if not module.has_gate:
        yield ExpertPart("up", (_R.UP,), first, (a, b))
    elif module.is_transposed or not module.is_concatenated:
        # The rows of gate are not beside each other: one matrix, as in a fused layer.
        yield ExpertPart("gate_up", (_R.GATE, _R.UP), first, (a, b))
    else:
        yield ExpertPart("gate", (_R.GATE,), first, (x, b))
        yield ExpertPart("up", (_R.UP,), first, (x, b))
    yield ExpertPart("down", (_R.DOWN,), "down_proj", (c, d))


def _names(
    path: str, parts: tuple[ExpertPart, ...], count: int, stored: StoredNames
) -> dict[str, tuple[str, ...]] | None:
    """Module names of every expert's projections, published ones where there are some."""
    found: dict[str, tuple[str, ...]] = {}
    for tensor in dict.fromkeys(part.tensor for part in parts):
        own = [part for part in parts if part.tensor == tensor]
        whole = f"{path}.{tensor}"
        groups = stored.stacked.get(whole)
        if groups is None and whole not in stored.plain:
            return None
        if groups is None:
            groups = tuple(
                tuple(f"{path}.{expert}.{_PUBLISHED[part.name]}.weight" for expert in range(count))
                for part in own
            )
        elif not _fit(groups, own, count, stored):
            return None
        for part, group in zip(own, groups, strict=True):
            found[part.name] = tuple(name.removesuffix(".weight") for name in group)
    return found


def _fit(
    groups: tuple[tuple[str, ...], ...], parts: list[ExpertPart], count: int, stored: StoredNames
) -> bool:
    """Whether the tensors on disk are the parts, expert by expert."""
    return len(groups) == len(parts) and all(
        len(group) == count
        and all(name.endswith(".weight") and stored.shapes[name] == part.shape for name in group)
        for group, part in zip(groups, parts, strict=True)
    )
