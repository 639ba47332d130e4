"""The `config.json` that a GGUF file's metadata and tensors stand for.

It has the fields of transformers' classes, so that everything after it reads a model folder like
any other. What the metadata cannot say (attention biases, a tied head) follows from the tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vox_populi.errors import ModelError
from vox_populi.hf.family_registry import FAMILIES
from vox_populi.hf.gguf_fields import GgufFields
from vox_populi.hf.gguf_rope import gguf_rope
from vox_populi.hf.model_family import ConfigFormat, ModelFamily
from vox_populi.operator_messages import gguf as say
from vox_populi.operator_messages.wording import capped

EMBEDDING, HEAD = "token_embd.weight", "output.weight"
"""Names of the embedding table and of the head in every GGUF file."""


def gguf_family(fields: GgufFields) -> ModelFamily:
    """The family that computes the file's graph.

    Raises:
        ModelError: For another architecture, or a file that is not a whole model.
    """
    kind = fields.text("general.type", default="model")
    if kind != "model":
        raise ModelError(say.gguf_not_a_model(kind or "").at(fields.where))
    n_parts = fields.value("split.count")
    if type(n_parts) is int and n_parts > 1:
        raise ModelError(say.gguf_is_split(n_parts).at(fields.where))
    name = fields.text("general.architecture", default="") or ""
    by_name = _families()
    if name not in by_name:
        raise ModelError(say.gguf_architecture_unsupported(name, list(by_name)).at(fields.where))
    return by_name[name]


def gguf_config(fields: GgufFields, *, is_head_tied: bool, dtype: str) -> dict[str, object]:
    """The content of a `config.json`.

    Args:
        fields: The file's metadata.
        is_head_tied: Whether the head is the embedding table.
        dtype: Number type of the folder's weights.

    Raises:
        ModelError: With every setting that is missing, wrong or not supported.
    """
    family = gguf_family(fields)
    config = _config(fields, family)
    if fields.problems:
        raise ModelError(*capped(fields.problems))
    return {**config, "tie_word_embeddings": is_head_tied, "torch_dtype": dtype}


def _families() -> Mapping[str, ModelFamily]:
    """Families by the name of their architecture; where two share one, the more general one."""
    named = [(family.gguf.architecture, family) for family in reversed(FAMILIES)]
    return {name.lower(): family for name, family in named if name is not None}


def _config(fields: GgufFields, family: ModelFamily) -> dict[str, object]:
    assert family.gguf.architecture is not None, "the family was found by it"
    names, prefix = family.config, family.gguf.architecture.lower()
    width = fields.count(f"{prefix}.embedding_length")
    heads = fields.count(f"{prefix}.attention.head_count")
    context = fields.count(f"{prefix}.context_length")
    head_dim = _head_dim(fields, prefix, max(width // heads, 1))
    experts = f"{prefix}.expert_count"
    if fields.value(experts) not in (None, 0):
        fields.unsupported(experts, fields.value(experts), "a mixture of experts")
    config: dict[str, object] = {
        "architectures": [family.architectures[0]],
        "model_type": family.name,
        "vocab_size": embedding_rows(fields),
        names.width[0]: width,
        names.layers[0]: fields.count(f"{prefix}.block_count"),
        names.heads[0]: heads,
        names.mlp_width: fields.count(f"{prefix}.feed_forward_length"),
        names.positions[0]: context,
        names.activation: names.default_activation,
        names.norm_eps: fields.number(f"{prefix}.attention.{_EPS[family.norm]}"),
    }
    if names.kv_heads is not None:
        config[names.kv_heads] = fields.count(f"{prefix}.attention.head_count_kv", default=heads)
    if names.head_dim is not None:
        config[names.head_dim] = head_dim
    config |= _biases(fields, [names.qkv_bias, names.o_bias, names.mlp_bias])
    config |= _scales(fields, names, prefix, head_dim)
    config |= _window(fields, family, prefix, context)
    if names.rope is not None:
        config |= gguf_rope(fields, names.rope, prefix, head_dim, context)
    return config


_EPS = {"rms": "layer_norm_rms_epsilon", "layer": "layer_norm_epsilon"}


def embedding_rows(fields: GgufFields) -> int:
    """Rows of the embedding table; a missing table is a problem in `fields`."""
    table = fields.header.tensors.get(EMBEDDING)
    if table is None or len(table.shape) != 2:
        fields.problems.append(say.gguf_no_embedding(EMBEDDING).at(fields.where))
        return 1
    return table.shape[0]


def _head_dim(fields: GgufFields, prefix: str, default: int) -> int:
    key = fields.count(f"{prefix}.attention.key_length", default=default)
    value = fields.count(f"{prefix}.attention.value_length", default=key)
    if key != value:
        fields.unsupported(f"{prefix}.attention.value_length", value, "values of another width")
    return key


_BIASES = ("blk.0.attn_q.bias", "blk.0.attn_output.bias", "blk.0.ffn_down.bias")


def _biases(fields: GgufFields, flags: Sequence[str | bool]) -> dict[str, object]:
    """The flags of a family that may or may not have biases."""
    found: dict[str, object] = {}
    for flag, name in zip(flags, _BIASES, strict=True):
        if isinstance(flag, str):
            # One flag may stand for two places; the check of the tensors finds a missing one.
            found[flag] = bool(found.get(flag)) or name in fields.header.tensors
    return found


def _scales(
    fields: GgufFields, names: ConfigFormat, prefix: str, head_dim: int
) -> dict[str, object]:
    """The factors of a family that reads them from its config, with llama.cpp's defaults."""
    found = (
        (names.embedding_scale, "embedding_scale", 1.0),
        (names.attention_scale, "attention.scale", head_dim**-0.5),
        (names.residual_scale, "residual_scale", 1.0),
        (names.logit_divisor, "logit_scale", 1.0),
    )
    return {
        name: fields.number(f"{prefix}.{key}", default=default)
        for name, key, default in found
        if name is not None
    }


def _window(
    fields: GgufFields, family: ModelFamily, prefix: str, context: int
) -> dict[str, object]:
    """The sliding window, in the field of the family's class."""
    key = f"{prefix}.attention.sliding_window"
    window = fields.value(key)
    rule = family.config.sliding
    if type(window) is not int or not 0 < window < context:
        return {}
    if rule is None or rule.window is None or rule.by_layer:
        fields.unsupported(key, window, f"a sliding window in a {family.label} model")
        return {}
    return {rule.window: window}
