"""A `ModelConfig` of a model that transformers computes.

Its numbers are those that the planner needs for sizes; the arithmetic is that of the class, which
reads the config by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vox_populi.containers.dtypes import STORED_NAME_OF
from vox_populi.errors import ModelError
from vox_populi.hf.config_fields import ConfigFields
from vox_populi.hf.expert_config import ExpertsSpec
from vox_populi.hf.foreign_experts import experts_per_token
from vox_populi.hf.model_family import (
    Activation,
    ConfigFormat,
    GgufForm,
    ModelFamily,
    TensorNames,
)
from vox_populi.hf.module_table import ModuleTable, block_number
from vox_populi.hf.quantization_config import parse_mxfp4, parse_quantization
from vox_populi.hf.tensor_key import ProjectionRole
from vox_populi.hf.text_part import OuterClass, fields_of_text
from vox_populi.hf.transformers_classes import foreign_class
from vox_populi.hf.transformers_table import read_module_table
from vox_populi.operator_messages import model_folder as say_folder
from vox_populi.operator_messages.mxfp4 import NOTE_READ_AS_DENSE


def foreign_family(model_type: str, table: ModuleTable) -> ModelFamily:
    """A family that other code only asks for names; no other program's form of it is known."""
    return ModelFamily(
        name=model_type,
        label=table.class_name.removesuffix("ForCausalLM").removesuffix("ForConditionalGeneration"),
        architectures=(table.class_name,),
        config=ConfigFormat(default_positions=1, rope=None),
        tensors=TensorNames(embed=table.embed, blocks=table.blocks, block={}, final_norm=""),
        gguf=GgufForm(),
        tiny={},
    )


def foreign_values(raw: Mapping[str, object], where: str) -> dict[str, Any]:
    """The fields of a `ModelConfig` for a model of transformers.

    Args:
        raw: Content of a `config.json`.
        where: Names the file in errors.

    Raises:
        MissingExtraError: Without transformers.
        ModelError: For a model that cannot be used through it.
    """
    found = foreign_class(raw, where)
    table, config = read_module_table(found, where), found.text
    outer = _outer(table, str(getattr(config, "model_type", "")))
    fields = ConfigFields(raw if outer is None else fields_of_text(raw), where)
    name = "dtype" if fields.value("dtype") is not None else "torch_dtype"
    dtype = fields.text(name, default="float32")
    if dtype not in STORED_NAME_OF:
        fields.unsupported(name, dtype, "a dtype other than float32, bfloat16 and float16")
    vocab_size, model_type = int(config.vocab_size), str(raw["model_type"])
    ids = {key: fields.token_ids(key, vocab_size) for key in ("bos_token_id", "eos_token_id")}
    mxfp4 = parse_mxfp4(fields)
    is_prequantized = mxfp4 is None and parse_quantization(fields)
    if fields.problems:
        raise ModelError(*fields.problems)
    heads = _size(config, "num_attention_heads") or 1
    width = int(config.hidden_size)
    positions = _size(config, "max_position_embeddings") or _NO_LIMIT
    return {
        "family": foreign_family(model_type, table),
        "model_type": model_type,
        "vocab_size": vocab_size,
        "hidden_size": width,
        "n_layers": int(config.num_hidden_layers),
        "n_heads": heads,
        "n_kv_heads": _size(config, "num_key_value_heads") or heads,
        "head_dim": _size(config, "head_dim") or max(width // heads, 1),
        "intermediate_size": _widest_in_mlp(table) or width,
        "max_positions": positions,
        "norm_eps": 0.0,
        "activation": Activation.SILU,
        "tie_word_embeddings": table.ties_head,
        "rope": None,
        "rotary_layers": (False,) * int(config.num_hidden_layers),
        "embedding_scale": 1.0,
        "attention_scale": 1.0,
        "residual_scale": 1.0,
        "logit_scale": 1.0,
        "qkv_bias": False,
        "o_bias": False,
        "mlp_bias": False,
        "sliding_window": None,
        "sliding_layers": (False,) * int(config.num_hidden_layers),
        "dtype": dtype,
        "bos_id": next(iter(ids["bos_token_id"]), None),
        "eos_ids": ids["eos_token_id"],
        "notes": tuple(_notes(fields, model_type, outer)),
        "outer": outer,
        "modules": table,
        "experts": _experts(config, table),
        "is_prequantized": is_prequantized,
        "mxfp4": mxfp4,
    }


def _experts(config: Any, table: ModuleTable) -> ExpertsSpec | None:
    """The sizes of a mixture whose experts are told apart."""
    if not table.experts:
        return None
    first = table.experts[0]
    numbers = {block_number(place.ours) for place in table.experts}
    return ExpertsSpec(
        count=first.count,
        per_token=experts_per_token(config, first.count),
        width=next(m.in_features for m in first.modules() if m.roles == (ProjectionRole.DOWN,)),
        is_normalised=False,
        layers=tuple(number in numbers for number in range(len(table.layer_kinds))),
    )


_NO_LIMIT = 2**20
"""Positions of a model whose config has no limit."""


def _outer(table: ModuleTable, text_type: str) -> OuterClass | None:
    """The class around a text model, if there is more to it."""
    if not table.text_path:
        return None
    return OuterClass(table.class_name, text_type, path=table.text_path.removeprefix(_PREFIX))


_PREFIX = "model."
"""Path of what a class with a head has beside it."""


def _notes(fields: ConfigFields, model_type: str, outer: OuterClass | None) -> Iterator[str]:
    if fields.value("output_router_logits") is True:
        yield say_folder.NOTE_ROUTER_LOSS_NOT_USED
    if fields.value("auto_map") not in (None, {}, [], False):
        yield say_folder.note_model_code_ignored(fields.where, model_type)
    if outer is not None:
        yield say_folder.note_text_model_only(outer.name)
    if parse_mxfp4(fields) is not None:
        yield NOTE_READ_AS_DENSE


def _size(config: Any, name: str) -> int | None:
    """A whole number of a config, if it is one."""
    value = getattr(config, name, None)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _widest_in_mlp(table: ModuleTable) -> int:
    """The width of the MLP, by the widest input of a layer that leads out of one."""
    return max((m.in_features for m in table.modules if m.roles == ("down",)), default=0)
