"""A model family: names and defaults of its config, its tensors, limits of other programs.

A family is one file in `hf/families` and one name in `hf/family_registry.py`. Everything else reads
these values; no other code depends on which family a model belongs to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vox_populi.hf.rope_config import LocalRope, RopeRule


class Activation(StrEnum):
    """Activation of the MLP."""

    SILU = "silu"
    GELU = "gelu"
    """GELU with the error function."""
    GELU_TANH = "gelu_tanh"
    """GELU with the tanh approximation: `gelu_new` and `gelu_pytorch_tanh` in configs."""


class NormKind(StrEnum):
    """The norms around attention and MLP and in front of the head."""

    RMS = "rms"
    """RMSNorm, whose result is rounded to the compute dtype before the weight multiplies it."""
    RMS_WIDE = "rms_wide"
    """RMSNorm that multiplies by its weight in float32 and rounds once."""
    RMS_CENTRED = "rms_centred"
    """The same with one more than the stored weight."""
    LAYER = "layer"
    """LayerNorm, which has a bias."""


@dataclass(frozen=True, slots=True)
class FixedSetting:
    """A config field whose other values require unsupported arithmetic."""

    name: str
    supported: tuple[object, ...]
    meaning: str
    """The meaning of any other value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingRule:
    """Which layers see only the last keys, as the family's class in transformers decides it."""

    window: str | None = "sliding_window"
    """Field with the number of keys; `None`: the class knows no window."""
    default_window: int | None = None
    """Window of a file without the field; a null always means none."""
    by_layer: bool = False
    """Whether `use_sliding_window`, `max_window_layers` and `layer_types` choose the layers."""
    by_flag: bool = False
    """Whether `use_sliding_window` alone decides; without it no layer slides."""
    full_every: int | None = None
    """Every so many layers, the last of them attends to everything and the others slide, unless
    `layer_types` says otherwise."""
    where_unrotated: bool = False
    """Whether, without `layer_types`, the layers that do not rotate slide, instead of those from
    `max_window_layers` on."""
    full_every_field: str | None = None
    """Field with that number."""

    @property
    def is_listed(self) -> bool:
        """Whether `layer_types` chooses; otherwise all layers slide, or none."""
        return self.by_layer or self.full_every is not None


@dataclass(frozen=True, slots=True)
class SoftCap:
    """Values x become `cap * tanh(x / cap)`, unless the field is null."""

    field: str
    """Field with the cap."""
    default: float | None
    """The cap of a file without the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertsRule:
    """Fields of a mixture of experts in a family's `config.json`."""

    count: tuple[str, ...] = ("num_experts", "num_local_experts")
    default_count: int
    per_token: str = "num_experts_per_tok"
    default_per_token: int
    width: str = "intermediate_size"
    """Field with the width of one expert."""
    default_width: int
    norm: str | bool = True
    """Whether the weights of a token's experts are scaled to sum to 1, or the flag that says so."""
    sparse_step: str | None = None
    """Field that makes only every n-th layer a mixture; `None`: all are."""
    dense_layers: str | None = None
    """Field that lists layers with an ordinary MLP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFormat:
    """Fields of a family's `config.json`, and what its class in transformers assumes without them.

    A field with several names may be spelled either way.
    """

    width: tuple[str, ...] = ("hidden_size",)
    layers: tuple[str, ...] = ("num_hidden_layers",)
    heads: tuple[str, ...] = ("num_attention_heads",)
    default_heads: int | None = None
    """`None`: the file must say it; the same for the vocabulary."""
    default_vocab: int | None = None
    kv_heads: str | None = "num_key_value_heads"
    """`None`: always as many as query heads."""
    default_kv_heads: int | None = None
    """`None`: as many as query heads."""
    head_dim: str | None = "head_dim"
    """`None`: always width divided by heads."""
    default_head_dim: int | None = None
    """`None`: width divided by heads."""
    mlp_width: str = "intermediate_size"
    default_mlp_ratio: int | None = None
    """Width of the MLP in model widths; `None`: the file must say it."""
    positions: tuple[str, ...] = ("max_position_embeddings",)
    default_positions: int
    norm_eps: str = "rms_norm_eps"
    default_norm_eps: float = 1e-6
    activation: str = "hidden_act"
    default_activation: str = "silu"
    tied_by_default: bool = False
    qkv_bias: str | bool = False
    """Whether there is one, or the flag that says so; the same for the two below."""
    o_bias: str | bool = False
    mlp_bias: str | bool = False
    embedding_scale: str | None = None
    """Field with the factor of the embeddings, 1 if absent; `None`: always 1. The same for the
    factor of what attention and MLP add to their input, and for the divisor of the logits."""
    residual_scale: str | None = None
    logit_divisor: str | None = None
    attention_scale: str | None = None
    """Field with the factor of attention's scores, 1 if absent; `None`: 1/sqrt(head dim)."""
    scales_embeddings: bool = False
    """Whether embeddings are multiplied by the root of the model width."""
    query_scalar: str | None = None
    """Field with the number whose inverse root scales the scores; `None`: that is the head dim."""
    default_query_scalar: float = 256.0
    attention_cap: SoftCap | None = None
    """Cap of the scores of attention; `None`: the class knows none. The same for the logits."""
    logit_cap: SoftCap | None = None
    sliding: SlidingRule | None = None
    """`None`: every layer attends to everything, and no field could say otherwise."""
    rope: RopeRule | None = field(default_factory=RopeRule)
    """How positions rotate queries and keys; `None`: a table of positions is added to the
    embeddings."""
    local_rope: LocalRope | None = None
    """How they do in layers that slide; `None`: as in the others."""
    experts: ExpertsRule | None = None
    """`None`: every layer has an ordinary MLP."""
    fixed: tuple[FixedSetting, ...] = ()
    required: Mapping[str, str] = field(default_factory=dict)
    """Fields without which the class assumes what is not built, and what is expected of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertNames:
    """Names of a mixture of experts in checkpoints, relative to the block."""

    router: str
    experts: str
    """Prefix before the number of an expert."""
    each: Mapping[str, str]
    """Modules of an expert by our names (`gate`, `up`, `down`), relative to the expert."""
    fused: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {"gate_up_proj": ("gate", "up"), "down_proj": ("down",)}
    )
    """Tensors with all experts, relative to `experts`, as transformers 5 holds them in memory:
    the modules whose rows each of their entries has one after the other."""
    other_prefixes: Mapping[str, str] = field(default_factory=dict)
    """Prefixes that some checkpoints have instead, with the canonical one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorNames:
    """Module names of a checkpoint by the names of our transformer.

    What a module of ours is, its shape and its bias, is in `hf.keymap`. The names that a block
    has decide the graph: `attn.qkv` instead of `attn.q`, `attn.k` and `attn.v` is one fused
    matrix (`mlp.gate_up` likewise), a block with neither `mlp.gate` nor `mlp.gate_up` has no gate,
    one with `attn.q_norm` has q/k norms. `attn_norm` and `mlp_norm` are applied to what attention
    and MLP read, `attn_post_norm` and `mlp_post_norm` to what they add.
    """

    embed: str
    pos_embed: str | None = None
    blocks: str
    """Prefix before the number of a block."""
    block: Mapping[str, str]
    """In forward order, relative to the block."""
    final_norm: str
    conv1d: bool = False
    """Whether the linear layers of the blocks are stored `[in, out]`."""
    optional_prefix: str = ""
    """Part of every name above that some checkpoints leave out."""
    other_prefixes: Mapping[str, str] = field(default_factory=dict)
    """What names begin with in some checkpoints instead, with what stands for it above."""
    experts: ExpertNames | None = None
    """Names of what replaces the MLP in layers that are a mixture of experts."""
    derived: tuple[str, ...] = ()
    """Buffers of a block that old checkpoints hold and the config implies."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A value that another program's model of the family takes for granted."""

    field: str
    """Field of `ModelConfig`, with a dot for nested fields."""
    value: object
    reason: str
    """What that program does instead of reading the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufForm:
    """The family in GGUF files and in llama.cpp."""

    architecture: str | None = None
    """Name in the package `gguf`; `None`: no GGUF files of the family are read or written."""
    paired_rotation: bool = False
    """Whether the rows of q and k are stored with the two of a rotation side by side."""
    yarn_is_unscaled: bool = False
    """Whether llama.cpp's YaRN for it multiplies cosine and sine by nothing, instead of by the
    factor that follows from the stretch."""
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MlxForm:
    """The family in mlx-lm."""

    blocks: str | None = None
    """Prefix before the number of a block in its model, if it differs from checkpoints."""
    always_ties_head: bool = False
    splits_gate_up: bool = False
    """Whether it makes two matrices of a fused gate and up, which no adapter fits then."""
    needed_keys: tuple[str, ...] = ()
    """Fields without which it does not read a `config.json`."""
    wants_optional_prefix: bool = True
    """Whether it loads tensors with `TensorNames.optional_prefix` in their names, or without."""
    reads_rope_parameters: bool = True
    """Whether it knows transformers 5's spelling of rotary settings."""
    rope_theta: float = 10_000.0
    """The base of the rotation where a config has none that it knows."""
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelFamily:
    """One architecture, in everything that sets it apart from the others."""

    name: str
    """`model_type` in configs."""
    label: str
    """Display name."""
    other_names: tuple[str, ...] = ()
    """Further spellings of `model_type`."""
    architectures: tuple[str, ...]
    """Classes of transformers that compute this graph."""
    is_other: Callable[[Mapping[str, object]], bool] = lambda config: False
    """Whether a config of this `model_type` has another graph, which `--graph auto` leaves to
    transformers; otherwise it is refused."""
    config: ConfigFormat
    tensors: TensorNames
    norm: NormKind = NormKind.RMS
    qk_norm_is_wide: bool = False
    """Whether the q/k norms are over all heads together; otherwise over each head."""
    gguf: GgufForm = field(default_factory=GgufForm)
    mlx: MlxForm = field(default_factory=MlxForm)
    vllm_has_lora: bool = True
    """Whether vLLM's model of the family takes adapters."""
    tiny: Mapping[str, object]
    """A small `config.json` that uses what is special here; tests build it."""
