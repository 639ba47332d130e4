"""`config.json` of a model folder as one value: what the transformer computes, nothing else.

Both spellings are read: `torch_dtype` and `dtype`, `rope_theta` with `rope_scaling` and
`rope_parameters`. Absent fields get the defaults of transformers' configuration classes.
Whatever would change the arithmetic and is not built is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vox_populi.errors import ModelError
from vox_populi.files.strict_json import read_json_object
from vox_populi.hf.config_fields import ConfigFields
from vox_populi.hf.model_family import Activation, Family
from vox_populi.hf.model_place import refuse_other_place
from vox_populi.hf.quantization_config import parse_quantization
from vox_populi.hf.rope_config import RopeKind, RopeSpec, parse_rope
from vox_populi.operator_messages import model_folder as say
from vox_populi.operator_messages.wording import capped

__all__ = [
    "CONFIG_NAME",
    "Activation",
    "Family",
    "ModelConfig",
    "RopeKind",
    "RopeSpec",
    "parse_model_config",
    "read_model_config",
]

CONFIG_NAME = "config.json"
_MAX_CONFIG_BYTES = 8 * 1024 * 1024

# Bounds far beyond any model; they keep a hostile config from asking for endless tables.
_MAX_LAYERS = 4096
_MAX_HEADS = 65_536
_MAX_WIDTH = 2**24
_MAX_VOCAB = 2**28
_MAX_POSITIONS = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything that decides a base model's arithmetic and the shapes of its tensors."""

    family: Family
    model_type: str
    """As the file spells it."""
    vocab_size: int
    hidden_size: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    intermediate_size: int
    max_positions: int
    norm_eps: float
    activation: Activation
    tie_word_embeddings: bool
    """The head is the embedding table unless the checkpoint brings a different `lm_head`."""
    rope: RopeSpec | None
    """`None`: learned positions that are added to the embeddings (GPT-2)."""
    qkv_bias: bool
    o_bias: bool
    mlp_bias: bool
    qk_norm: bool
    """RMSNorm over each head of queries and keys, before the rotation (Qwen3)."""
    sliding_window: int | None
    """Keys that a query sees, itself included, in the layers of `sliding_layers`."""
    sliding_layers: tuple[bool, ...]
    """One entry per layer."""
    dtype: str
    """`float32`, `bfloat16` or `float16`: what the file says its weights are."""
    bos_id: int | None
    eos_ids: tuple[int, ...]
    """Ids that end a text, those outside the vocabulary left out."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What of the file is read otherwise than a newcomer would expect."""
    is_prequantized: bool = False
    """Whether the file announces weights that bitsandbytes packed in NF4."""

    @property
    def position_limit(self) -> int | None:
        """Tokens beyond which nothing is computed; `None` where only quality ends.

        Learned positions are a table. Under dynamic scaling longer texts need other frequencies.
        """
        is_dynamic = self.rope is not None and self.rope.kind is RopeKind.DYNAMIC
        return self.max_positions if self.rope is None or is_dynamic else None

    @property
    def fused_qkv(self) -> bool:
        """Whether one matrix makes queries, keys and values (GPT-2's `c_attn`)."""
        return self.family is Family.GPT2

    @property
    def gated_mlp(self) -> bool:
        """Whether the MLP has a gate projection (SwiGLU shape)."""
        return self.family is not Family.GPT2

    @property
    def layer_norm(self) -> bool:
        """LayerNorm with bias (GPT-2) instead of RMSNorm."""
        return self.family is Family.GPT2

    @property
    def q_features(self) -> int:
        """Output width of the query projection."""
        return self.n_heads * self.head_dim

    @property
    def kv_features(self) -> int:
        """Output width of the key projection, and of the value projection."""
        return self.n_kv_heads * self.head_dim


def read_model_config(model_dir: Path) -> ModelConfig:
    """Read `config.json` of a model folder.

    Raises:
        ModelError: With every problem of the file.
    """
    refuse_other_place(model_dir)
    path = model_dir / CONFIG_NAME
    return parse_model_config(read_json_object(path, _MAX_CONFIG_BYTES), str(path))


def parse_model_config(raw: Mapping[str, object], where: str) -> ModelConfig:
    """Make a config of the content of a `config.json`; `where` names the file in errors.

    Raises:
        ModelError: With every problem, or with the supported types for a foreign `model_type`.
    """
    fields = ConfigFields(raw, where)
    family = _family(fields)
    _refuse_foreign_settings(fields, family)
    config = _parse_gpt2(fields) if family is Family.GPT2 else _parse_llama_like(fields, family)
    quantized, notes = parse_quantization(fields), tuple(_notes(fields, config))
    config = replace(config, is_prequantized=quantized, notes=notes)
    if not fields.problems:
        _check_shapes(fields, config)
    if fields.problems:
        raise ModelError(*capped(fields.problems))
    return config


def _notes(fields: ConfigFields, config: ModelConfig) -> Iterator[str]:
    if fields.value("auto_map") not in (None, {}, [], False):
        yield say.note_model_code_ignored(fields.where, config.model_type)
    if config.rope is not None and config.rope.kind is RopeKind.DYNAMIC:
        yield say.note_dynamic_rope(config.max_positions)


# Older Qwen 2.5 files spell the type with its version; the graph is Qwen2's.
_FAMILY_OF_TYPE = {family.value: family for family in Family} | {"qwen2.5": Family.QWEN2}

_ARCHITECTURES = {
    Family.GPT2: ("GPT2LMHeadModel", "GPT2Model"),
    Family.LLAMA: ("LlamaForCausalLM",),
    Family.MISTRAL: ("MistralForCausalLM",),
    Family.QWEN2: ("Qwen2ForCausalLM",),
    Family.QWEN3: ("Qwen3ForCausalLM",),
}


def _family(fields: ConfigFields) -> Family:
    name = fields.text("model_type", default="")
    if name in _FAMILY_OF_TYPE:
        return _FAMILY_OF_TYPE[name]
    raise ModelError(say.model_type_unsupported(fields.where, name, tuple(Family)))


def _refuse_foreign_settings(fields: ConfigFields, family: Family) -> None:
    architectures = fields.texts("architectures")
    if architectures and not set(architectures) & set(_ARCHITECTURES[family]):
        fields.unsupported("architectures", architectures[0], f"an architecture beside {family}'s")
    fields.must_be("is_encoder_decoder", (False,), "an encoder")
    fields.must_be("add_cross_attention", (False,), "cross-attention")


def _parse_gpt2(fields: ConfigFields) -> ModelConfig:
    fields.must_be("scale_attn_weights", (True,), "attention without the 1/sqrt(d) scale")
    fields.must_be("scale_attn_by_inverse_layer_idx", (False,), "a scale per layer")
    fields.must_be("reorder_and_upcast_attn", (False,), "another order of attention arithmetic")
    width = fields.count("n_embd", "hidden_size", maximum=_MAX_WIDTH)
    n_layers = fields.count("n_layer", "num_hidden_layers", maximum=_MAX_LAYERS)
    n_heads = fields.count("n_head", "num_attention_heads", maximum=_MAX_HEADS)
    vocab_size = fields.count("vocab_size", maximum=_MAX_VOCAB)
    return ModelConfig(
        family=Family.GPT2,
        model_type=Family.GPT2.value,
        vocab_size=vocab_size,
        hidden_size=width,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=max(width // n_heads, 1),
        intermediate_size=fields.count("n_inner", default=4 * width, maximum=_MAX_WIDTH),
        max_positions=fields.count(
            "n_positions", "max_position_embeddings", default=1024, maximum=_MAX_VOCAB
        ),
        norm_eps=fields.number("layer_norm_epsilon", default=1e-5, at_most=1.0),
        activation=_activation(fields, "activation_function", "gelu_new"),
        tie_word_embeddings=fields.flag("tie_word_embeddings", default=True),
        rope=None,
        qkv_bias=True,
        o_bias=True,
        mlp_bias=True,
        qk_norm=False,
        sliding_window=None,
        sliding_layers=(False,) * n_layers,
        dtype=_dtype(fields),
        bos_id=_bos_id(fields, vocab_size),
        eos_ids=fields.token_ids("eos_token_id", vocab_size),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _LlamaLikeDefaults:
    """What transformers' class of a family assumes when the file is silent."""

    max_positions: int
    n_kv_heads: int | None = None
    """`None`: as many as query heads."""
    head_dim: int | None = None
    """`None`: width divided by heads."""
    qkv_bias: bool | None = None
    """`None`: the file's `attention_bias` decides, for the output projection too."""


_DEFAULTS = {
    Family.LLAMA: _LlamaLikeDefaults(max_positions=2048),
    Family.MISTRAL: _LlamaLikeDefaults(max_positions=131_072, n_kv_heads=8, qkv_bias=False),
    Family.QWEN2: _LlamaLikeDefaults(max_positions=32_768, qkv_bias=True),
    Family.QWEN3: _LlamaLikeDefaults(max_positions=32_768, head_dim=128),
}


def _parse_llama_like(fields: ConfigFields, family: Family) -> ModelConfig:
    defaults = _DEFAULTS[family]
    width = fields.count("hidden_size", maximum=_MAX_WIDTH)
    n_layers = fields.count("num_hidden_layers", maximum=_MAX_LAYERS)
    n_heads = fields.count("num_attention_heads", maximum=_MAX_HEADS)
    vocab_size = fields.count("vocab_size", maximum=_MAX_VOCAB)
    max_positions = fields.count(
        "max_position_embeddings", default=defaults.max_positions, maximum=_MAX_POSITIONS
    )
    attention_bias = fields.flag("attention_bias", default=False)
    window, layers = _sliding(fields, family, n_layers)
    return ModelConfig(
        family=family,
        model_type=fields.text("model_type", default=family.value),
        vocab_size=vocab_size,
        hidden_size=width,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=_n_kv_heads(fields, defaults, n_heads),
        head_dim=_head_dim(fields, defaults, width, n_heads),
        intermediate_size=fields.count("intermediate_size", maximum=_MAX_WIDTH),
        max_positions=max_positions,
        norm_eps=fields.number("rms_norm_eps", default=1e-6, at_most=1.0),
        activation=_activation(fields, "hidden_act", "silu"),
        tie_word_embeddings=fields.flag("tie_word_embeddings", default=False),
        rope=parse_rope(fields, max_positions),
        qkv_bias=attention_bias if defaults.qkv_bias is None else defaults.qkv_bias,
        o_bias=attention_bias if defaults.qkv_bias is None else False,
        mlp_bias=family is Family.LLAMA and fields.flag("mlp_bias", default=False),
        qk_norm=family is Family.QWEN3,
        sliding_window=window if any(layers) else None,
        sliding_layers=layers,
        dtype=_dtype(fields),
        bos_id=_bos_id(fields, vocab_size),
        eos_ids=fields.token_ids("eos_token_id", vocab_size),
    )


def _n_kv_heads(fields: ConfigFields, defaults: _LlamaLikeDefaults, n_heads: int) -> int:
    name = "num_key_value_heads"
    # A null means "as many as query heads"; only an absent key gets the class default.
    absent = n_heads if fields.is_given(name) or not defaults.n_kv_heads else defaults.n_kv_heads
    return fields.count(name, default=absent, maximum=_MAX_HEADS)


def _head_dim(fields: ConfigFields, defaults: _LlamaLikeDefaults, width: int, n_heads: int) -> int:
    derived = max(width // n_heads, 1)
    return fields.count("head_dim", default=defaults.head_dim or derived, maximum=_MAX_WIDTH)


def _sliding(
    fields: ConfigFields, family: Family, n_layers: int
) -> tuple[int | None, tuple[bool, ...]]:
    """The window and which layers have it, by each family's own rule."""
    window = None
    if family is Family.MISTRAL and not fields.is_given("sliding_window"):
        window = 4096
    elif family is not Family.LLAMA and fields.value("sliding_window") is not None:
        window = fields.count("sliding_window", maximum=_MAX_POSITIONS)
    first = 0
    if family in (Family.QWEN2, Family.QWEN3):
        if not fields.flag("use_sliding_window", default=False):
            window = None
        first = _first_sliding_layer(fields)
    by_rule = tuple(window is not None and layer >= first for layer in range(n_layers))
    return window, _layer_types(fields, family, by_rule, has_window=window is not None)


def _first_sliding_layer(fields: ConfigFields) -> int:
    value = fields.value("max_window_layers")
    if value == 0 and type(value) is int:
        return 0
    return fields.count("max_window_layers", default=28, maximum=_MAX_POSITIONS)


_SLIDES = {"full_attention": False, "attention": False, "sliding_attention": True}


def _layer_types(
    fields: ConfigFields, family: Family, by_rule: tuple[bool, ...], *, has_window: bool
) -> tuple[bool, ...]:
    """The file's `layer_types` where it has them; Llama and Mistral classes do not read them."""
    names = fields.texts("layer_types")
    if not names:
        return by_rule
    unknown = next((name for name in names if name not in _SLIDES), None)
    if unknown is not None:
        fields.unsupported("layer_types", unknown, "a layer other than full or sliding attention")
        return by_rule
    listed = tuple(_SLIDES[name] for name in names)
    fixed_rule = family in (Family.LLAMA, Family.MISTRAL)
    if len(listed) != len(by_rule):
        fields.contradiction("layer_types", "num_hidden_layers")
    elif (any(listed) and not has_window) or (fixed_rule and listed != by_rule):
        fields.contradiction("layer_types", "sliding_window")
    return listed


_ACTIVATIONS = {
    "silu": Activation.SILU,
    "swish": Activation.SILU,
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "gelu_fast": Activation.GELU_TANH,
}


def _activation(fields: ConfigFields, name: str, default: str) -> Activation:
    value = fields.text(name, default=default)
    if value not in _ACTIVATIONS:
        fields.unsupported(name, value, f"an activation other than {', '.join(_ACTIVATIONS)}")
    return _ACTIVATIONS.get(value, Activation.SILU)


def _dtype(fields: ConfigFields) -> str:
    # `dtype` wins where both are given, as in transformers.
    name = "dtype" if fields.value("dtype") is not None else "torch_dtype"
    value = fields.text(name, default="float32")
    if value not in ("float32", "bfloat16", "float16"):
        fields.unsupported(name, value, "a dtype other than float32, bfloat16 and float16")
    return value


def _bos_id(fields: ConfigFields, vocab_size: int) -> int | None:
    ids = fields.token_ids("bos_token_id", vocab_size)
    return ids[0] if ids else None


def _check_shapes(fields: ConfigFields, config: ModelConfig) -> None:
    """Relations between fields; only meaningful once every field is right by itself."""
    if config.n_heads % config.n_kv_heads:
        fields.contradiction("num_attention_heads", "num_key_value_heads")
    if config.rope is not None and config.head_dim % 2:
        fields.unsupported("head_dim", config.head_dim, "rotation of an odd head")
    # Without an explicit head_dim (Qwen3 always has one), the heads share the width.
    shares_width = fields.value("head_dim") is None and config.family is not Family.QWEN3
    if config.hidden_size % config.n_heads and (shares_width or config.fused_qkv):
        names = ("n_embd", "n_head") if config.fused_qkv else ("hidden_size", "num_attention_heads")
        fields.contradiction(*names)
