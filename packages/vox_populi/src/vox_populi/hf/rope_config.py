"""Rotary positions as configs describe them, in both spellings, as one value.

transformers 4 writes `rope_theta` and `rope_scaling`, transformers 5 one `rope_parameters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from vox_populi.hf.config_fields import ConfigFields

DEFAULT_THETA = 10_000.0
_MAX_POSITIONS = 2**31


class RopeKind(StrEnum):
    """The frequency rules that are built, by their name in configs."""

    DEFAULT = "default"
    DYNAMIC = "dynamic"
    """NTK-aware: transformers changes the frequencies of texts longer than the model's context;
    up to that length they are the default ones, and only that far such a model is run here."""
    LINEAR = "linear"
    LLAMA3 = "llama3"
    YARN = "yarn"


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeSpec:
    """How a position turns into angles. Fields that a kind does not read keep their defaults."""

    kind: RopeKind
    theta: float
    factor: float = 1.0
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    original_max_positions: int | None = None
    """Context length before scaling (`llama3`, `yarn` and `dynamic`; always set for these)."""
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    """Factor of cosine and sine; `None`: derived from `factor`, `mscale` and `mscale_all_dim`."""
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True
    """Whether YaRN rounds the borders of its ramp to whole dimensions."""


def parse_rope(fields: ConfigFields, max_positions: int) -> RopeSpec:
    """Read the rotary settings of a Llama-like config; problems go into `fields`.

    Both spellings in one file must mean the same: transformers versions differ in which wins.
    """
    given = [name for name in ("rope_parameters", "rope_scaling") if fields.mapping(name)]
    specs = [_spec(fields, fields.mapping(name) or {}, name, max_positions) for name in given]
    if not specs:
        return _spec(fields, {}, "rope_parameters", max_positions)
    if specs[0] != specs[-1]:
        fields.contradiction(*given)
    return specs[0]


def _spec(
    fields: ConfigFields, raw: Mapping[str, object], label: str, max_positions: int
) -> RopeSpec:
    """One spelling; `raw` is the nested object, `fields` the whole config."""
    rope = ConfigFields(raw, f"{fields.where}: {label}", fields.problems)
    for name, value in raw.items():
        if isinstance(value, (dict, list)):
            fields.unsupported(f"{label}.{name}", None, "per-layer and per-dimension rotation")
    _check_partial_rotation(fields, rope)
    theta = _theta(fields, rope, label)
    kind = _kind(rope)
    if kind is RopeKind.DYNAMIC:
        factor = rope.number("factor")
        return RopeSpec(kind=kind, theta=theta, factor=factor, original_max_positions=max_positions)
    if kind is RopeKind.LINEAR:
        return RopeSpec(kind=kind, theta=theta, factor=rope.number("factor"))
    if kind is RopeKind.LLAMA3:
        return _llama3(fields, rope, theta, max_positions)
    if kind is RopeKind.YARN:
        return _yarn(fields, rope, theta, max_positions)
    return RopeSpec(kind=kind, theta=theta)


def _check_partial_rotation(fields: ConfigFields, rope: ConfigFields) -> None:
    for place in (fields, rope):
        place.must_be("partial_rotary_factor", (1, 1.0), "rotating a part of each head")


def _theta(fields: ConfigFields, rope: ConfigFields, label: str) -> float:
    outer = fields.number("rope_theta", default=DEFAULT_THETA, above=1.0)
    inner = rope.number("rope_theta", default=outer, above=1.0)
    if fields.value("rope_theta") is not None and inner != outer:
        fields.contradiction("rope_theta", f"{label}.rope_theta")
    return inner


def _kind(rope: ConfigFields) -> RopeKind:
    # `type` is the older name of `rope_type`.
    name = rope.text("rope_type", "type", default=RopeKind.DEFAULT.value)
    try:
        return RopeKind(name)
    except ValueError:
        rope.unsupported("rope_type", name, f"a rule other than {', '.join(RopeKind)}")
        return RopeKind.DEFAULT


def _original_positions(fields: ConfigFields, rope: ConfigFields, max_positions: int) -> int:
    """The outer field wins over the nested one, and both over the context length."""
    name = "original_max_position_embeddings"
    inner = rope.count(name, default=max_positions, maximum=_MAX_POSITIONS)
    return fields.count(name, default=inner, maximum=_MAX_POSITIONS)


def _llama3(fields: ConfigFields, rope: ConfigFields, theta: float, max_positions: int) -> RopeSpec:
    low, high = rope.number("low_freq_factor"), rope.number("high_freq_factor")
    if high <= low and not rope.problems:
        rope.contradiction("low_freq_factor", "high_freq_factor")
    return RopeSpec(
        kind=RopeKind.LLAMA3,
        theta=theta,
        factor=rope.number("factor"),
        low_freq_factor=low,
        high_freq_factor=high,
        original_max_positions=_original_positions(fields, rope, max_positions),
    )


def _yarn(fields: ConfigFields, rope: ConfigFields, theta: float, max_positions: int) -> RopeSpec:
    original = _original_positions(fields, rope, max_positions)
    # A `factor` of null means the ratio of the two context lengths (DeepSeek's spelling).
    ratio = max_positions / original if rope.is_given("factor") else None
    return RopeSpec(
        kind=RopeKind.YARN,
        theta=theta,
        factor=rope.number("factor", default=ratio),
        original_max_positions=original,
        # Zero means "not set" to transformers.
        beta_fast=rope.number("beta_fast", default=32.0, or_equal=True) or 32.0,
        beta_slow=rope.number("beta_slow", default=1.0, or_equal=True) or 1.0,
        attention_factor=rope.optional_number("attention_factor", above=0.0),
        mscale=rope.optional_number("mscale", above=0.0, or_equal=True),
        mscale_all_dim=rope.optional_number("mscale_all_dim", above=0.0, or_equal=True),
        truncate=rope.flag("truncate", default=True),
    )
