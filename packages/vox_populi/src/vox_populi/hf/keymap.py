"""Names of tensors in checkpoints and in our transformer: one table per family, read both ways.

Letters of shapes: D model width, Q query features, K key or value features, C queries, keys and
values side by side, F MLP width, E head dim, V vocabulary, P positions. Our linear weights are
always `[out, in]`; GPT-2's Conv1D weights are stored `[in, out]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from vox_populi.hf.model_config import Family, ModelConfig


class ProjectionRole(StrEnum):
    """What a linear layer does in a block; the words that `--targets` takes."""

    Q = "q"
    K = "k"
    V = "v"
    O = "o"  # noqa: E741 - the field's name for it
    GATE = "gate"
    UP = "up"
    DOWN = "down"
    LM_HEAD = "lm_head"


@dataclass(frozen=True, slots=True)
class TensorKey:
    """One tensor under both of its names."""

    ours: str
    theirs: str
    """Canonical Hugging Face name; GPT-2's with the `transformer.` prefix."""
    shape: tuple[int, ...]
    """As stored in the checkpoint."""
    transposed: bool
    """Stored `[in, out]`: swap the two dimensions on the way in and on the way out."""
    required: bool
    """Whether a checkpoint without it is incomplete; only a tied head may be left out."""

    @property
    def our_shape(self) -> tuple[int, ...]:
        """As our transformer holds it."""
        return self.shape[::-1] if self.transposed else self.shape


@dataclass(frozen=True, slots=True)
class AdapterModule:
    """One linear layer that can carry an adapter."""

    ours: str
    """Module path in our transformer, such as `blocks.0.attn.q`."""
    theirs: str
    """Module path in the Hugging Face model, such as `model.layers.0.self_attn.q_proj`."""
    roles: tuple[ProjectionRole, ...]
    """More than one where the base fuses projections (GPT-2's `c_attn` is q, k and v)."""
    in_features: int
    out_features: int
    fan_in_fan_out: bool
    """The base stores this weight `[in, out]` (PEFT's word for Conv1D)."""


@dataclass(frozen=True, slots=True)
class _Linear:
    """A projection; `bias` names the config field that says whether it has one."""

    ours: str
    theirs: str
    out_features: str
    in_features: str
    bias: str
    roles: tuple[ProjectionRole, ...]
    conv1d: bool = False


@dataclass(frozen=True, slots=True)
class _Plain:
    """A tensor that is stored as we hold it, if the config field `when` is true."""

    ours: str
    theirs: str
    shape: str
    when: str = ""


@dataclass(frozen=True, slots=True)
class _FamilyMap:
    """A family's tensors; block names are relative to the block."""

    block_prefix: str
    before: tuple[_Plain, ...]
    block: tuple[_Linear | _Plain, ...]
    after: tuple[_Plain, ...]


_R = ProjectionRole

_GPT2 = _FamilyMap(
    block_prefix="transformer.h.",
    before=(
        _Plain("embed.weight", "transformer.wte.weight", "VD"),
        _Plain("pos_embed.weight", "transformer.wpe.weight", "PD"),
    ),
    block=(
        _Plain("attn_norm.weight", "ln_1.weight", "D"),
        _Plain("attn_norm.bias", "ln_1.bias", "D"),
        _Linear("attn.qkv", "attn.c_attn", "C", "D", "qkv_bias", (_R.Q, _R.K, _R.V), conv1d=True),
        _Linear("attn.o", "attn.c_proj", "D", "Q", "o_bias", (_R.O,), conv1d=True),
        _Plain("mlp_norm.weight", "ln_2.weight", "D"),
        _Plain("mlp_norm.bias", "ln_2.bias", "D"),
        _Linear("mlp.up", "mlp.c_fc", "F", "D", "mlp_bias", (_R.UP,), conv1d=True),
        _Linear("mlp.down", "mlp.c_proj", "D", "F", "mlp_bias", (_R.DOWN,), conv1d=True),
    ),
    after=(
        _Plain("final_norm.weight", "transformer.ln_f.weight", "D"),
        _Plain("final_norm.bias", "transformer.ln_f.bias", "D"),
    ),
)

# Llama, Mistral, Qwen2 and Qwen3 share every name; biases and q/k norms come from the config.
_LLAMA_LIKE = _FamilyMap(
    block_prefix="model.layers.",
    before=(_Plain("embed.weight", "model.embed_tokens.weight", "VD"),),
    block=(
        _Plain("attn_norm.weight", "input_layernorm.weight", "D"),
        _Linear("attn.q", "self_attn.q_proj", "Q", "D", "qkv_bias", (_R.Q,)),
        _Linear("attn.k", "self_attn.k_proj", "K", "D", "qkv_bias", (_R.K,)),
        _Linear("attn.v", "self_attn.v_proj", "K", "D", "qkv_bias", (_R.V,)),
        _Plain("attn.q_norm.weight", "self_attn.q_norm.weight", "E", when="qk_norm"),
        _Plain("attn.k_norm.weight", "self_attn.k_norm.weight", "E", when="qk_norm"),
        _Linear("attn.o", "self_attn.o_proj", "D", "Q", "o_bias", (_R.O,)),
        _Plain("mlp_norm.weight", "post_attention_layernorm.weight", "D"),
        _Linear("mlp.gate", "mlp.gate_proj", "F", "D", "mlp_bias", (_R.GATE,)),
        _Linear("mlp.up", "mlp.up_proj", "F", "D", "mlp_bias", (_R.UP,)),
        _Linear("mlp.down", "mlp.down_proj", "D", "F", "mlp_bias", (_R.DOWN,)),
    ),
    after=(_Plain("final_norm.weight", "model.norm.weight", "D"),),
)

_MAPS: Mapping[Family, _FamilyMap] = {
    Family.GPT2: _GPT2,
    Family.LLAMA: _LLAMA_LIKE,
    Family.MISTRAL: _LLAMA_LIKE,
    Family.QWEN2: _LLAMA_LIKE,
    Family.QWEN3: _LLAMA_LIKE,
}

_HEAD = "lm_head"


def tensor_keys(config: ModelConfig) -> tuple[TensorKey, ...]:
    """Every tensor of a model in forward order, the head last."""
    family, sizes = _MAPS[config.family], _sizes(config)
    keys = [_plain_key(row, sizes) for row in family.before]
    for layer in range(config.n_layers):
        for row in family.block:
            keys.extend(_block_keys(row, config, sizes, _prefixes(family, layer)))
    keys.extend(_plain_key(row, sizes) for row in family.after)
    head_shape = (config.vocab_size, config.hidden_size)
    name, required = f"{_HEAD}.weight", not config.tie_word_embeddings
    keys.append(TensorKey(name, name, head_shape, transposed=False, required=required))
    return tuple(keys)


def block_weight_keys(config: ModelConfig) -> tuple[TensorKey, ...]:
    """Weights of the linear layers of all blocks, in forward order: what NF4 applies to."""
    linear = {f"{module.ours}.weight" for module in adapter_modules(config)[:-1]}
    return tuple(key for key in tensor_keys(config) if key.ours in linear)


def adapter_modules(config: ModelConfig) -> tuple[AdapterModule, ...]:
    """Every projection that can carry an adapter, in forward order, `lm_head` last."""
    family, sizes = _MAPS[config.family], _sizes(config)
    modules = [
        _adapter_module(row, sizes, _prefixes(family, layer))
        for layer in range(config.n_layers)
        for row in family.block
        if isinstance(row, _Linear)
    ]
    width, vocab = config.hidden_size, config.vocab_size
    head = AdapterModule(_HEAD, _HEAD, (_R.LM_HEAD,), width, vocab, fan_in_fan_out=False)
    return (*modules, head)


def ordered_middle_projection_keys(config: ModelConfig) -> tuple[str, ...]:
    """Weight names of the attention output projections, one per layer, in layer order."""
    return tuple(
        f"{module.theirs}.weight"
        for module in adapter_modules(config)
        if module.roles == (ProjectionRole.O,)
    )


def _sizes(config: ModelConfig) -> dict[str, int]:
    return {
        "D": config.hidden_size,
        "Q": config.q_features,
        "K": config.kv_features,
        "C": config.q_features + 2 * config.kv_features,
        "F": config.intermediate_size,
        "E": config.head_dim,
        "V": config.vocab_size,
        "P": config.max_positions,
    }


def _prefixes(family: _FamilyMap, layer: int) -> tuple[str, str]:
    return f"blocks.{layer}.", f"{family.block_prefix}{layer}."


def _block_keys(
    row: _Linear | _Plain, config: ModelConfig, sizes: Mapping[str, int], at: tuple[str, str]
) -> Iterator[TensorKey]:
    if isinstance(row, _Plain):
        if not row.when or getattr(config, row.when):
            yield _plain_key(row, sizes, at)
        return
    ours, theirs = at[0] + row.ours, at[1] + row.theirs
    shape = (sizes[row.out_features], sizes[row.in_features])
    stored = shape[::-1] if row.conv1d else shape
    yield TensorKey(f"{ours}.weight", f"{theirs}.weight", stored, row.conv1d, required=True)
    if getattr(config, row.bias):
        yield TensorKey(
            f"{ours}.bias", f"{theirs}.bias", shape[:1], transposed=False, required=True
        )


def _plain_key(row: _Plain, sizes: Mapping[str, int], at: tuple[str, str] = ("", "")) -> TensorKey:
    shape = tuple(sizes[letter] for letter in row.shape)
    return TensorKey(at[0] + row.ours, at[1] + row.theirs, shape, transposed=False, required=True)


def _adapter_module(row: _Linear, sizes: Mapping[str, int], at: tuple[str, str]) -> AdapterModule:
    return AdapterModule(
        ours=at[0] + row.ours,
        theirs=at[1] + row.theirs,
        roles=row.roles,
        in_features=sizes[row.in_features],
        out_features=sizes[row.out_features],
        fan_in_fan_out=row.conv1d,
    )
