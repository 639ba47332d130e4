"""Rotary settings of a GGUF file, as a config spells them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from vox_populi.containers.file_ranges import read_range
from vox_populi.containers.gguf_types import GGML_TYPES
from vox_populi.hf.gguf_fields import GgufFields, shortest
from vox_populi.hf.rope_config import DEFAULT_THETA, RopeKind, RopeRule

LLAMA3_FACTORS = "rope_freqs.weight"
LONG_FACTORS, SHORT_FACTORS = "rope_factors_long.weight", "rope_factors_short.weight"
ROPE_TENSORS = (LLAMA3_FACTORS, LONG_FACTORS, SHORT_FACTORS)
"""Tensors that hold settings instead of weights."""

_LOG_MUL = "rope.scaling.yarn_log_multiplier"
_MAX_FREQUENCIES = 2**16
_LLAMA3 = (1.0, 4.0, 8192)
"""Low and high factor and first context of every published Llama 3; the file does not hold them."""


def gguf_rope(
    fields: GgufFields, rule: RopeRule, prefix: str, head_dim: int, context: int
) -> dict[str, object]:
    """The rotary fields of a config; problems go into `fields`."""
    theta = fields.number(f"{prefix}.rope.freq_base", default=DEFAULT_THETA)
    config: dict[str, object] = {"rope_theta": theta}
    rotated = fields.count(f"{prefix}.rope.dimension_count", default=head_dim)
    if rotated != head_dim and rule.partial:
        config["partial_rotary_factor"] = rotated / head_dim
    elif rotated != head_dim:
        key = f"{prefix}.rope.dimension_count"
        fields.unsupported(key, rotated, "rotating a part of each head")
    factors = _tensor(fields, LLAMA3_FACTORS)
    if factors is not None:
        config["rope_scaling"] = _llama3(fields, factors, theta, head_dim)
    elif SHORT_FACTORS in fields.header.tensors:
        config |= _longrope(fields, prefix, context)
    else:
        config |= _scaled(fields, rule, prefix)
    return config


def _scaled(fields: GgufFields, rule: RopeRule, prefix: str) -> dict[str, object]:
    """Scaling that settings alone express."""
    kind = fields.text(f"{prefix}.rope.scaling.type", default="none")
    factor_key = f"{prefix}.rope.scaling.factor"
    if kind == "none":
        return {}
    if kind == RopeKind.LINEAR:
        factor = fields.number(factor_key, default=1.0)
        return {} if factor == 1 else {"rope_scaling": {"rope_type": kind, "factor": factor}}
    if kind != RopeKind.YARN:
        fields.unsupported(f"{prefix}.rope.scaling.type", kind, "another scaling of positions")
        return {}
    first_key = f"{prefix}.rope.scaling.original_context_length"
    scaling: dict[str, object] = {
        "rope_type": kind,
        "factor": fields.number(factor_key),
        "original_max_position_embeddings": fields.count(first_key),
    }
    for ours, theirs in (("beta_fast", "yarn_beta_fast"), ("beta_slow", "yarn_beta_slow")):
        if fields.value(f"{prefix}.rope.scaling.{theirs}") is not None:
            scaling[ours] = fields.number(f"{prefix}.rope.scaling.{theirs}")
    return {"rope_scaling": scaling | _growth(fields, rule, prefix)}


def _growth(fields: GgufFields, rule: RopeRule, prefix: str) -> dict[str, object]:
    """How queries grow, in a family whose cosine and sine are not scaled."""
    if rule.query_growth is None:
        return {}
    key, weight_key = (f"{prefix}.{name}" for name in ("attention.temperature_scale", _LOG_MUL))
    weight = fields.number(weight_key)
    if weight != 1:
        fields.unsupported(weight_key, weight, "a factor of cosine and sine")
    is_given = fields.value(key) not in (None, 0)
    return {
        rule.query_growth: fields.number(key) if is_given else 0.0,
        "attention_factor": 1.0,
    }


def _longrope(fields: GgufFields, prefix: str, context: int) -> dict[str, object]:
    short, long = _tensor(fields, SHORT_FACTORS), _tensor(fields, LONG_FACTORS)
    key = f"{prefix}.rope.scaling.original_context_length"
    original = fields.count(key, default=context)
    attention = fields.number(f"{prefix}.rope.scaling.attn_factor", default=1.0)
    scaling: dict[str, object] = {
        "rope_type": RopeKind.LONGROPE.value,
        "short_factor": list(short or ()),
        "long_factor": list(long or ()),
    }
    if not math.isclose(attention, _derived_attention(context, original), rel_tol=1e-6):
        scaling["attention_factor"] = attention
    return {"rope_scaling": scaling, "original_max_position_embeddings": original}


def _derived_attention(context: int, original: int) -> float:
    """The factor that transformers derives from the two context lengths."""
    if context <= original or original < 2:
        return 1.0
    return math.sqrt(1 + math.log(context / original) / math.log(original))


def _tensor(fields: GgufFields, name: str) -> Sequence[float] | None:
    """The numbers of a vector of settings."""
    tensor = fields.header.tensors.get(name)
    if tensor is None:
        return None
    if tensor.type != GGML_TYPES[0] or len(tensor.shape) != 1:
        fields.unsupported(name, tensor.type.name, "factors that are not float32")
        return None
    if tensor.shape[0] > _MAX_FREQUENCIES:
        fields.unsupported(name, tensor.shape[0], "more factors than a head has frequencies")
        return None
    data = read_range(fields.header.path, tensor.start, tensor.n_bytes)
    numbers = [shortest(number) for number in memoryview(data).cast("f")]
    if not all(math.isfinite(number) and number > 0 for number in numbers):
        fields.unsupported(name, None, "factors that are not positive numbers")
        return None
    return numbers


def _llama3(
    fields: GgufFields, factors: Sequence[float], theta: float, head_dim: int
) -> dict[str, object]:
    """The settings of Llama 3 that give these factors; the file holds only the factors.

    Scaling low, high and the first context by the same number gives the same factors, so they are
    sought among the published ones and those with a low factor of 1.
    """
    if len(factors) != head_dim // 2:
        fields.unsupported(LLAMA3_FACTORS, len(factors), f"factors of {head_dim // 2} frequencies")
        return {}
    factor = max(factors)
    for low, high, original in _candidates(factors, theta, head_dim, factor):
        settings = {
            "rope_type": RopeKind.LLAMA3.value,
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": original,
        }
        expected = llama3_factors(theta, head_dim, factor, (low, high, original))
        if all(math.isclose(a, b, rel_tol=1e-5) for a, b in zip(factors, expected, strict=True)):
            return settings
    fields.unsupported(LLAMA3_FACTORS, None, "factors that are not those of Llama 3")
    return {}


def llama3_factors(
    theta: float, head_dim: int, factor: float, rest: tuple[float, float, int]
) -> list[float]:
    """The divisor of each frequency by Llama 3.1's rule."""
    low, high, original = rest
    factors = []
    for index in range(0, head_dim, 2):
        turns = original / (2 * math.pi * theta ** (index / head_dim))
        smooth = min(max((turns - low) / (high - low), 0.0), 1.0)
        factors.append(1 / ((1 - smooth) / factor + smooth))
    return factors


def _candidates(
    factors: Sequence[float], theta: float, head_dim: int, factor: float
) -> Iterator[tuple[float, float, int]]:
    yield _LLAMA3
    # Between the two ends the rule is a line over the turns per position: slope and height of it.
    points = [
        (1 / (2 * math.pi * theta ** (2 * index / head_dim)), _smooth(value, factor))
        for index, value in enumerate(factors)
        if 1 < value < factor
    ]
    if not points:
        return
    (first, first_height), (last, last_height) = points[0], points[-1]
    low, usual_high, _ = _LLAMA3
    yield low, usual_high, max(round((low + (usual_high - low) * first_height) / first), 1)
    if len(points) < 2:
        return
    slope = (first_height - last_height) / (first - last)
    height = first_height - slope * first
    if not height < 0 < slope:
        return
    high = 1 - 1 / height
    original = slope * (high - 1)
    if 1 < high < math.inf and 1 <= original < 2**31:
        yield 1.0, shortest(round(high, 3)), round(original)


def _smooth(value: float, factor: float) -> float:
    return (1 / value - 1 / factor) / (1 - 1 / factor)
