"""`config.json` of a model folder as one value: only what affects the transformer's arithmetic.

Both spellings are read: `torch_dtype` and `dtype`, `rope_theta` with `rope_scaling` and
`rope_parameters`. Absent fields get the defaults of transformers' configuration classes.
Anything that would change the arithmetic and is not supported is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vox_populi.errors import ModelError
from vox_populi.files.strict_json import read_json_object
from vox_populi.hf.activation_config import activation_of
from vox_populi.hf.config_fields import ConfigFields
from vox_populi.hf.config_values import (
    MAX_HEADS,
    MAX_WIDTH,
    attention_scale_of,
    bos_id_of,
    cap_of,
    dtype_of,
    flag_of,
    head_dim_of,
    kv_heads_of,
    scale_of,
)
from vox_populi.hf.expert_config import ExpertsSpec, parse_experts
from vox_populi.hf.family_registry import FAMILIES, family_of
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.model_family import (
    Activation,
    ModelFamily,
    NormKind,
)
from vox_populi.hf.model_place import refuse_other_place
from vox_populi.hf.module_table import ModuleTable
from vox_populi.hf.quantization_config import Mxfp4Form, parse_quantization
from vox_populi.hf.rope_config import (
    MAX_POSITIONS,
    RopeKind,
    RopeSpec,
    parse_ropes,
    rotary_layers,
)
from vox_populi.hf.sliding_config import sliding_layers
from vox_populi.hf.text_part import SECTION, OuterClass, TextPart, text_part
from vox_populi.hf.transformers_config import foreign_values
from vox_populi.operator_messages import model_folder as say
from vox_populi.operator_messages.wording import capped

CONFIG_NAME = "config.json"
_MAX_CONFIG_BYTES = 8 * 1024 * 1024

# Bounds far beyond any model; they keep a hostile config from asking for endless tables.
_MAX_LAYERS = 4096
_MAX_VOCAB = 2**28


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything that decides a base model's arithmetic and the shapes of its tensors."""

    family: ModelFamily
    model_type: str
    """Model type as spelled in the file."""
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
    rotary_layers: tuple[bool, ...]
    """Which layers rotate queries and keys; one entry per layer."""
    embedding_scale: float
    """Factor of the embeddings."""
    attention_scale: float
    """Factor of the scores of attention."""
    residual_scale: float
    """Factor of what attention and MLP add to their input."""
    logit_scale: float
    """Factor of the logits."""
    qkv_bias: bool
    o_bias: bool
    mlp_bias: bool
    attention_cap: float | None = None
    """Soft cap of the scores; the same for the logits."""
    logit_cap: float | None = None
    sliding_window: int | None
    """Keys that a query sees, itself included, in the layers of `sliding_layers`."""
    sliding_layers: tuple[bool, ...]
    """One entry per layer."""
    local_rope: RopeSpec | None = None
    """Rotation in the layers of `sliding_layers`; `None`: `rope`, as in the others."""
    dtype: str
    """`float32`, `bfloat16` or `float16`: what the file says its weights are."""
    bos_id: int | None
    eos_ids: tuple[int, ...]
    """Ids that end a text, those outside the vocabulary left out."""
    experts: ExpertsSpec | None = None
    """The mixture of experts; `None`: every layer has an ordinary MLP."""
    notes: tuple[str, ...] = field(default=(), compare=False)
    """What of the file is read otherwise than a newcomer would expect."""
    is_prequantized: bool = False
    """Whether the file announces weights that bitsandbytes packed in NF4."""
    mxfp4: Mxfp4Form | None = None
    """What the file says of experts in MXFP4; `None` without any."""
    outer: OuterClass | None = None
    """The class that has this model as its text model; `None`: the folder has no other."""
    modules: ModuleTable | None = field(default=None, repr=False)
    """What transformers' class of the model consists of, if that computes it; fields that only
    decide arithmetic of ours mean nothing then."""

    @property
    def source(self) -> GraphSource:
        """Whose code computes the model; not `auto`."""
        return GraphSource.NATIVE if self.modules is None else GraphSource.TRANSFORMERS

    @property
    def position_limit(self) -> int | None:
        """Tokens beyond which nothing is computed; `None` where only quality ends.

        Learned positions are a table. Under dynamic scaling longer texts need other frequencies.
        """
        if self.modules is not None:
            return self.max_positions if self.modules.has_position_table else None
        is_dynamic = self.rope is not None and self.rope.kind is RopeKind.DYNAMIC
        return self.max_positions if self.rope is None or is_dynamic else None

    @property
    def fused_qkv(self) -> bool:
        """Whether one matrix makes queries, keys and values."""
        return "attn.qkv" in self.family.tensors.block

    @property
    def qk_norm(self) -> bool:
        """Whether queries and keys have RMSNorms, before the rotation."""
        return "attn.q_norm" in self.family.tensors.block

    def qk_norm_features(self, heads: int) -> int:
        """Width of such a norm, for so many heads."""
        return self.head_dim * (heads if self.family.qk_norm_is_wide else 1)

    @property
    def post_norms(self) -> bool:
        """Whether what attention and MLP add is normalised first."""
        return "attn_post_norm" in self.family.tensors.block

    @property
    def gated_mlp(self) -> bool:
        """Whether the MLP has a gate (SwiGLU shape)."""
        return self.fused_gate_up or "mlp.gate" in self.family.tensors.block

    @property
    def fused_gate_up(self) -> bool:
        """Whether one matrix makes the gate and what it gates."""
        return "mlp.gate_up" in self.family.tensors.block

    def is_mixture(self, layer: int) -> bool:
        """Whether a layer has experts in place of an MLP."""
        return self.experts is not None and self.experts.layers[layer]

    @property
    def layer_norm(self) -> bool:
        """LayerNorm with bias instead of RMSNorm."""
        return self.family.norm is NormKind.LAYER

    @property
    def rotary_dim(self) -> int:
        """Leading features of each head that are rotated."""
        return 0 if self.rope is None else int(self.head_dim * self.rope.partial_factor)

    @property
    def rotates_three_of_four(self) -> bool:
        """Whether every fourth layer, and no other, leaves queries and keys unrotated."""
        return all(
            rotates == bool(place % 4) for place, rotates in enumerate(self.rotary_layers, start=1)
        )

    @property
    def heads_fill_width(self) -> bool:
        """Whether the query heads side by side are as wide as the model."""
        return self.q_features == self.hidden_size

    @property
    def mlp_ratio(self) -> float:
        """Width of the MLP in model widths."""
        return self.intermediate_size / self.hidden_size

    @property
    def q_features(self) -> int:
        """Output width of the query projection."""
        return self.n_heads * self.head_dim

    @property
    def kv_features(self) -> int:
        """Output width of the key projection, and of the value projection."""
        return self.n_kv_heads * self.head_dim


def read_model_config(model_dir: Path, source: GraphSource = GraphSource.AUTO) -> ModelConfig:
    """Read `config.json` of a model folder.

    Args:
        model_dir: The folder.
        source: Whose code will compute the model.

    Raises:
        MissingExtraError: Without transformers, for a model that it would compute.
        ModelError: With every problem of the file.
    """
    refuse_other_place(model_dir)
    path = model_dir / CONFIG_NAME
    return parse_model_config(read_json_object(path, _MAX_CONFIG_BYTES), str(path), source)


def parse_model_config(
    raw: Mapping[str, object], where: str, source: GraphSource = GraphSource.NATIVE
) -> ModelConfig:
    """Make a config of the content of a `config.json`; `where` names the file in errors.

    Raises:
        MissingExtraError: Without transformers, for a model that it would compute.
        ModelError: With every problem, or with the supported types for a foreign `model_type`.
    """
    part = None if source is GraphSource.TRANSFORMERS else text_part(raw)
    fields = ConfigFields(raw, where)
    name = fields.text("model_type", default="")
    family = family_of(name) if part is None else part.family
    is_foreign = bool(name) if family is None else part is None and family.is_other(raw)
    if source is GraphSource.TRANSFORMERS or (is_foreign and source is GraphSource.AUTO):
        return ModelConfig(**foreign_values(raw, where))
    if family is None:
        names = [each.name for each in FAMILIES]
        raise ModelError(say.model_type_unsupported(name, names).at(fields.where))
    if part is not None:
        fields = ConfigFields(part.fields, f"{where}, {SECTION}")
    _refuse_foreign_settings(fields, family)
    config = _parse(fields, family)
    if part is not None:
        config = replace(config, model_type=name, outer=part.outer)
        _refuse_other_logits(fields, config, part)
    quantized, notes = parse_quantization(fields), tuple(_notes(fields, config))
    config = replace(config, is_prequantized=quantized, notes=notes)
    if not fields.problems:
        _check_shapes(fields, config)
    if fields.problems:
        raise ModelError(*capped(fields.problems))
    return config


def _refuse_other_logits(fields: ConfigFields, config: ModelConfig, part: TextPart) -> None:
    """Refuse a text model that does more with its logits than the class around it."""
    names, meaning = part.family.config, f"logits that {part.outer.name} does not give"
    if names.logit_cap is not None and config.logit_cap is not None:
        fields.unsupported(names.logit_cap.field, config.logit_cap, meaning)
    if names.logit_divisor is not None and config.logit_scale != 1:
        fields.unsupported(names.logit_divisor, 1 / config.logit_scale, meaning)


def _notes(fields: ConfigFields, config: ModelConfig) -> Iterator[str]:
    if fields.value("auto_map") not in (None, {}, [], False):
        yield say.note_model_code_ignored(fields.where, config.model_type)
    if config.outer is not None:
        yield say.note_text_model_only(config.outer.name)
    if config.rope is not None and config.rope.kind is RopeKind.DYNAMIC:
        yield say.note_dynamic_rope(config.max_positions)
    if config.experts is not None and fields.value("output_router_logits") is True:
        yield say.NOTE_ROUTER_LOSS_NOT_USED


def _refuse_foreign_settings(fields: ConfigFields, family: ModelFamily) -> None:
    architectures = fields.texts("architectures")
    if architectures and not set(architectures) & set(family.architectures):
        meaning = f"an architecture beside {family.name}'s"
        fields.unsupported("architectures", architectures[0], meaning)
    fields.must_be("is_encoder_decoder", (False,), "an encoder")
    fields.must_be("add_cross_attention", (False,), "cross-attention")
    for name, expected in family.config.required.items():
        fields.require(name, expected)
    for setting in family.config.fixed:
        fields.must_be(setting.name, setting.supported, setting.meaning)


def _parse(fields: ConfigFields, family: ModelFamily) -> ModelConfig:
    names = family.config
    rule = names.rope
    width = fields.count(*names.width, maximum=MAX_WIDTH)
    n_layers = fields.count(*names.layers, maximum=_MAX_LAYERS)
    n_heads = fields.count(*names.heads, default=names.default_heads, maximum=MAX_HEADS)
    vocab_size = fields.count("vocab_size", default=names.default_vocab, maximum=_MAX_VOCAB)
    ratio = names.default_mlp_ratio
    max_positions = fields.count(
        *names.positions,
        default=names.default_positions,
        # A table of learned positions is as large as a vocabulary may be.
        maximum=_MAX_VOCAB if rule is None else MAX_POSITIONS,
    )
    rotates = rotary_layers(fields, rule, n_layers)
    window, layers = sliding_layers(fields, names.sliding, rotates)
    n_kv_heads = kv_heads_of(fields, names, n_heads)
    head_dim = head_dim_of(fields, names, width, n_heads)
    rope, local_rope = (
        (None, None)
        if rule is None
        else parse_ropes(fields, max_positions, rule, head_dim, names.local_rope)
    )
    return ModelConfig(
        family=family,
        model_type=fields.text("model_type", default=family.name),
        vocab_size=vocab_size,
        hidden_size=width,
        n_layers=n_layers,
        n_heads=n_heads,
        n_kv_heads=n_kv_heads,
        head_dim=head_dim,
        intermediate_size=fields.count(
            names.mlp_width, default=ratio and ratio * width, maximum=MAX_WIDTH
        ),
        max_positions=max_positions,
        norm_eps=fields.number(names.norm_eps, default=names.default_norm_eps, at_most=1.0),
        activation=activation_of(fields, names.activation, names.default_activation),
        tie_word_embeddings=fields.flag("tie_word_embeddings", default=names.tied_by_default),
        rope=rope,
        local_rope=local_rope,
        rotary_layers=rotates,
        embedding_scale=(
            width**0.5 if names.scales_embeddings else scale_of(fields, names.embedding_scale)
        ),
        attention_scale=attention_scale_of(fields, names, head_dim),
        residual_scale=scale_of(fields, names.residual_scale),
        logit_scale=1 / scale_of(fields, names.logit_divisor),
        attention_cap=cap_of(fields, names.attention_cap),
        logit_cap=cap_of(fields, names.logit_cap),
        qkv_bias=flag_of(fields, names.qkv_bias),
        o_bias=flag_of(fields, names.o_bias),
        mlp_bias=flag_of(fields, names.mlp_bias),
        sliding_window=window if any(layers) else None,
        sliding_layers=layers,
        dtype=dtype_of(fields),
        bos_id=bos_id_of(fields, vocab_size),
        eos_ids=fields.token_ids("eos_token_id", vocab_size),
        experts=parse_experts(fields, names.experts, n_layers),
    )


def _check_shapes(fields: ConfigFields, config: ModelConfig) -> None:
    """Relations between fields; only meaningful once every field is right by itself."""
    if config.n_heads % config.n_kv_heads:
        fields.contradiction("num_attention_heads", "num_key_value_heads")
    if config.rope is not None and (config.rotary_dim % 2 or not config.rotary_dim):
        if config.rotary_dim == config.head_dim:
            fields.unsupported("head_dim", config.head_dim, "rotation of an odd head")
        else:
            factor, part = config.rope.partial_factor, config.rotary_dim
            meaning = f"rotation of {part} features of a head of {config.head_dim}"
            fields.unsupported("partial_rotary_factor", factor, meaning)
    # Without an explicit head_dim, of the file or of the family, the heads share the width.
    names = config.family.config
    is_explicit = names.head_dim is not None and (
        names.default_head_dim is not None or fields.value(names.head_dim) is not None
    )
    if config.hidden_size % config.n_heads and not is_explicit:
        fields.contradiction(names.width[0], names.heads[0])
