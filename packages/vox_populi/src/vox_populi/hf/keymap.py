"""Names of tensors in checkpoints and in our transformer, read both ways, with their shapes.

Our modules are described here; the family defines their names in checkpoints.
Letters of shapes: D model width, Q query features, K key or value features, C queries, keys and
values side by side, F MLP width, G gate and up side by side, V vocabulary, P positions, q and k
what the norms of queries and keys are over, N experts, X width of an expert.
Our linear weights are always `[out, in]`; GPT-2's Conv1D weights are stored `[in, out]`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from vox_populi.hf.family_registry import FAMILIES
from vox_populi.hf.model_config import ModelConfig
from vox_populi.hf.model_family import TensorNames
from vox_populi.hf.tensor_key import AdapterModule, ProjectionRole, TensorKey

__all__ = [
    "BLOCK_PARTS",
    "EMBED_WEIGHT",
    "HEAD",
    "HEAD_WEIGHT",
    "AdapterModule",
    "ProjectionRole",
    "TensorKey",
    "adapter_modules",
    "block_weight_keys",
    "canonical_name",
    "conv1d_part",
    "embedding_key",
    "is_derived",
    "is_of_text_model",
    "ordered_middle_projection_keys",
    "spelled_like",
    "tensor_keys",
]


@dataclass(frozen=True, slots=True)
class _Linear:
    """A projection of a block; `bias` names the config field that says whether it has one."""

    out_features: str
    in_features: str
    bias: str
    roles: tuple[ProjectionRole, ...]


_R = ProjectionRole
_LINEAR: Mapping[str, _Linear] = {
    "attn.q": _Linear("Q", "D", "qkv_bias", (_R.Q,)),
    "attn.k": _Linear("K", "D", "qkv_bias", (_R.K,)),
    "attn.v": _Linear("K", "D", "qkv_bias", (_R.V,)),
    "attn.qkv": _Linear("C", "D", "qkv_bias", (_R.Q, _R.K, _R.V)),
    "attn.o": _Linear("D", "Q", "o_bias", (_R.O,)),
    "mlp.gate": _Linear("F", "D", "mlp_bias", (_R.GATE,)),
    "mlp.up": _Linear("F", "D", "mlp_bias", (_R.UP,)),
    "mlp.gate_up": _Linear("G", "D", "mlp_bias", (_R.GATE, _R.UP)),
    "mlp.down": _Linear("D", "F", "mlp_bias", (_R.DOWN,)),
    "mlp.experts.gate": _Linear("X", "D", "mlp_bias", (_R.GATE,)),
    "mlp.experts.up": _Linear("X", "D", "mlp_bias", (_R.UP,)),
    "mlp.experts.down": _Linear("D", "X", "mlp_bias", (_R.DOWN,)),
}
"""Projections that a block of ours may have; those of experts without the number of the expert."""
_ROUTER = "mlp.router"
"""Scores every expert for a token; it never has an adapter."""
_IN_MLP = "mlp."
_EXPERTS = "mlp.experts."
_NORMS: Mapping[str, str] = {
    "attn_norm": "D",
    "attn.q_norm": "q",
    "attn.k_norm": "k",
    "attn_post_norm": "D",
    "mlp_norm": "D",
    "mlp_post_norm": "D",
}
"""Its norms; those over the model width have a bias where they are LayerNorms."""

EMBED_WEIGHT = "embed.weight"
"""Our name of the embedding table."""
HEAD = "lm_head"
"""Our name of the head, and every family's."""
HEAD_WEIGHT = f"{HEAD}.weight"
BLOCK_PARTS = tuple(part for part in _LINEAR if not part.startswith(_EXPERTS))
"""Our names, within a block, of every projection that a family may have besides experts'."""


def tensor_keys(config: ModelConfig) -> tuple[TensorKey, ...]:
    """Every tensor of a model in forward order, the head last."""
    if config.modules is not None:
        return config.modules.keys
    names, sizes = config.family.tensors, _sizes(config)
    keys = [_key(EMBED_WEIGHT, embedding_key(config), "VD", sizes)]
    if names.pos_embed is not None:
        keys.append(_key("pos_embed.weight", f"{names.pos_embed}.weight", "PD", sizes))
    for ours, theirs in _block_modules(config):
        keys.extend(_module_keys(ours, theirs, config, sizes))
    keys.extend(_norm_keys("final_norm", names.final_norm, "D", config, sizes))
    head = _key(HEAD_WEIGHT, HEAD_WEIGHT, "VD", sizes)
    return (*keys, replace(head, required=not config.tie_word_embeddings))


def embedding_key(config: ModelConfig) -> str:
    """Name of the embedding table in the checkpoint."""
    return f"{config.family.tensors.embed}.weight"


def canonical_name(config: ModelConfig, name: str) -> str:
    """A tensor's name with the prefix that some checkpoints of the family leave out."""
    names = config.family.tensors
    if config.modules is not None:
        return config.modules.spellings.get(name, name)
    name = _respelled(name, names.other_prefixes)
    prefix = names.optional_prefix
    tops = (names.embed, names.pos_embed, names.blocks.rstrip("."), names.final_norm)
    bare = tuple(f"{top.removeprefix(prefix)}." for top in tops if top is not None)
    whole = prefix + name if prefix and name.startswith(bare) else name
    return whole if names.experts is None else _with_own_prefix(whole, names)


def _respelled(name: str, prefixes: Mapping[str, str]) -> str:
    """A name with another prefix, if it has one of these."""
    for other, own in prefixes.items():
        if name.startswith(other):
            return own + name.removeprefix(other)
    return name


def spelled_like(config: ModelConfig, name: str, other: str) -> str:
    """A canonical name with the prefix that `other`, of the same model, has in a folder."""
    prefixes = config.family.tensors.other_prefixes
    if config.modules is not None:
        return config.modules.spelled_like(name, other)
    if not other.startswith(tuple(prefixes)):
        return name
    return _respelled(name, {own: stored for stored, own in prefixes.items()})


def is_of_text_model(config: ModelConfig, name: str) -> bool:
    """Whether a canonical name in a folder is one of the model's, and not of what is around it."""
    if config.outer is None or name.startswith((config.outer.prefix, f"{HEAD}.")):
        return True
    return config.modules is not None and name in config.modules.spellings


def _with_own_prefix(name: str, names: TensorNames) -> str:
    """A name in which the mixture of a block has its canonical prefix."""
    assert names.experts is not None, "asked for families with experts"
    block = re.match(rf"{re.escape(names.blocks)}\d+\.", name)
    if block is None:
        return name
    return block[0] + _respelled(name[block.end() :], names.experts.other_prefixes)


def is_derived(config: ModelConfig, name: str) -> bool:
    """Whether a canonical name is that of a buffer that the config implies."""
    return any(
        name.startswith(family.tensors.blocks)
        and name.removeprefix(family.tensors.blocks).partition(".")[2] in family.tensors.derived
        for family in (config.family, *FAMILIES)
    )


def conv1d_part(path: str) -> str | None:
    """Our name, within a block, of a Hugging Face module that its family stores `[in, out]`.

    The path may lack the prefix that some checkpoints leave out; `None` for any other module.
    """
    for names in (family.tensors for family in FAMILIES if family.tensors.conv1d):
        blocks = names.blocks.removeprefix(names.optional_prefix)
        part = re.fullmatch(
            rf"{re.escape(blocks)}\d+\.(.+)", path.removeprefix(names.optional_prefix)
        )
        for ours, theirs in names.block.items():
            if part is not None and theirs == part[1] and ours in BLOCK_PARTS:
                return ours
    return None


def block_weight_keys(config: ModelConfig) -> tuple[TensorKey, ...]:
    """Weights of the linear layers of all blocks, in forward order: what NF4 applies to."""
    linear = {f"{module.ours}.weight" for module in adapter_modules(config)[:-1]}
    return tuple(key for key in tensor_keys(config) if key.ours in linear)


def adapter_modules(config: ModelConfig) -> tuple[AdapterModule, ...]:
    """Every projection that can carry an adapter, in forward order, `lm_head` last."""
    if config.modules is not None:
        return config.modules.modules
    sizes, conv1d = _sizes(config), config.family.tensors.conv1d
    modules = [
        AdapterModule(
            ours=ours,
            theirs=theirs,
            roles=linear.roles,
            in_features=sizes[linear.in_features],
            out_features=sizes[linear.out_features],
            fan_in_fan_out=conv1d,
            in_expert=_part(ours).startswith(_EXPERTS),
        )
        for ours, theirs in _block_modules(config)
        if (linear := _LINEAR.get(_part(ours))) is not None
    ]
    width, vocab = config.hidden_size, config.vocab_size
    head = AdapterModule(HEAD, HEAD, (_R.LM_HEAD,), width, vocab, fan_in_fan_out=False)
    return (*modules, head)


def ordered_middle_projection_keys(config: ModelConfig) -> tuple[str, ...]:
    """Weight names of the attention output projections, one per layer, in layer order."""
    return tuple(
        f"{module.theirs}.weight"
        for module in adapter_modules(config)
        if module.roles == (ProjectionRole.O,)
    )


def _sizes(config: ModelConfig) -> dict[str, int]:
    experts = config.experts
    return {
        "D": config.hidden_size,
        "Q": config.q_features,
        "K": config.kv_features,
        "C": config.q_features + 2 * config.kv_features,
        "F": config.intermediate_size,
        "G": 2 * config.intermediate_size,
        "q": config.qk_norm_features(config.n_heads),
        "k": config.qk_norm_features(config.n_kv_heads),
        "V": config.vocab_size,
        "P": config.max_positions,
        **({} if experts is None else {"N": experts.count, "X": experts.width}),
    }


def _block_modules(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """Both names of every module of the blocks, in forward order."""
    names = config.family.tensors
    for layer in range(config.n_layers):
        is_mixture = config.is_mixture(layer)
        for ours, theirs in names.block.items():
            if not (is_mixture and ours.startswith(_IN_MLP)):
                yield f"blocks.{layer}.{ours}", f"{names.blocks}{layer}.{theirs}"
        if is_mixture:
            for ours, theirs in _mixture_modules(config):
                yield f"blocks.{layer}.{ours}", f"{names.blocks}{layer}.{theirs}"


def _mixture_modules(config: ModelConfig) -> Iterator[tuple[str, str]]:
    """Both names of the modules of a mixture, within its block."""
    names, experts = config.family.tensors.experts, config.experts
    assert names is not None, "a family with experts names them"
    assert experts is not None, "only a mixture has these modules"
    yield _ROUTER, names.router
    for expert in range(experts.count):
        for ours, theirs in names.each.items():
            yield f"mlp.experts.{expert}.{ours}", f"{names.experts}{expert}.{theirs}"


def _part(ours: str) -> str:
    """`blocks.3.attn.q` is `attn.q` in its block; the number of an expert is left out."""
    part = ours.split(".", 2)[2]
    if not part.startswith(_EXPERTS):
        return part
    return _EXPERTS + part.rpartition(".")[2]


def _module_keys(
    ours: str, theirs: str, config: ModelConfig, sizes: Mapping[str, int]
) -> Iterator[TensorKey]:
    part = _part(ours)
    linear = _LINEAR.get(part)
    if part == _ROUTER:
        yield _key(f"{ours}.weight", f"{theirs}.weight", "ND", sizes)
        return
    if linear is None:
        yield from _norm_keys(ours, theirs, _NORMS[part], config, sizes)
        return
    is_turned = config.family.tensors.conv1d
    shape = (sizes[linear.out_features], sizes[linear.in_features])
    stored = shape[::-1] if is_turned else shape
    yield TensorKey(f"{ours}.weight", f"{theirs}.weight", stored, is_turned, required=True)
    if getattr(config, linear.bias):
        yield _key(f"{ours}.bias", f"{theirs}.bias", linear.out_features, sizes)


def _norm_keys(
    ours: str, theirs: str, shape: str, config: ModelConfig, sizes: Mapping[str, int]
) -> Iterator[TensorKey]:
    yield _key(f"{ours}.weight", f"{theirs}.weight", shape, sizes)
    if config.layer_norm and shape == "D":
        yield _key(f"{ours}.bias", f"{theirs}.bias", shape, sizes)


def _key(ours: str, theirs: str, letters: str, sizes: Mapping[str, int]) -> TensorKey:
    shape = tuple(sizes[letter] for letter in letters)
    return TensorKey(ours, theirs, shape, transposed=False, required=True)
