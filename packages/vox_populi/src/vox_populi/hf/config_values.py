"""Values of a `config.json` that a family's format decides how to read. No torch here."""

from __future__ import annotations

from vox_populi.containers.dtypes import STORED_NAME_OF
from vox_populi.hf.config_fields import ConfigFields
from vox_populi.hf.model_family import ConfigFormat, SoftCap

MAX_HEADS = 65_536
MAX_WIDTH = 2**24


def flag_of(fields: ConfigFields, named: str | bool) -> bool:
    """Whether it is so, or what the flag says that decides it."""
    return named if isinstance(named, bool) else fields.flag(named, default=False)


def scale_of(fields: ConfigFields, name: str | None, without: float = 1.0) -> float:
    """The factor in a field, 1 if absent; `without` for a family without the field."""
    return without if name is None else fields.number(name, default=1.0)


def attention_scale_of(fields: ConfigFields, names: ConfigFormat, head_dim: int) -> float:
    """The factor of the scores of attention."""
    scalar = float(head_dim)
    if names.query_scalar is not None:
        scalar = fields.number(names.query_scalar, default=names.default_query_scalar)
    return scale_of(fields, names.attention_scale, scalar**-0.5)


def cap_of(fields: ConfigFields, cap: SoftCap | None) -> float | None:
    """The soft cap of a file; `None`: there is none."""
    if cap is None:
        return None
    is_silent = not fields.is_given(cap.field)
    return cap.default if is_silent else fields.optional_number(cap.field, above=0.0)


def kv_heads_of(fields: ConfigFields, names: ConfigFormat, n_heads: int) -> int:
    """Heads of keys and values."""
    if names.kv_heads is None:
        return n_heads
    # A null means "as many as query heads"; only an absent key gets the class default.
    is_silent = not fields.is_given(names.kv_heads)
    default = names.default_kv_heads if is_silent else None
    return fields.count(names.kv_heads, default=default or n_heads, maximum=MAX_HEADS)


def head_dim_of(fields: ConfigFields, names: ConfigFormat, width: int, n_heads: int) -> int:
    """Features of a head."""
    derived = max(width // n_heads, 1)
    if names.head_dim is None:
        return derived
    default = names.default_head_dim or derived
    return fields.count(names.head_dim, default=default, maximum=MAX_WIDTH)


def dtype_of(fields: ConfigFields) -> str:
    """The number type that the file says its weights have."""
    # `dtype` wins where both are given, as in transformers.
    name = "dtype" if fields.value("dtype") is not None else "torch_dtype"
    value = fields.text(name, default="float32")
    if value not in STORED_NAME_OF:
        fields.unsupported(name, value, "a dtype other than float32, bfloat16 and float16")
    return value


def bos_id_of(fields: ConfigFields, vocab_size: int) -> int | None:
    """The id that starts a text, if it is in the vocabulary."""
    ids = fields.token_ids("bos_token_id", vocab_size)
    return ids[0] if ids else None
