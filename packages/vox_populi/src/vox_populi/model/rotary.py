"""Rotary position embedding, half-split layout, with the scaling rules Hugging Face configs name.

RoFormer: Su et al. 2021, arXiv 2104.09864; YaRN: Peng et al. 2023, arXiv 2309.00071; `llama3`
and `linear` as the Llama 3.1 and position-interpolation configs define them; LongRoPE: Ding et al.
2024, arXiv 2402.13753.
Shape letters: T tokens, S segments, H heads, E head dim, F frequencies: half of the features that
are rotated, which are all of a head or its first ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vox_populi.hf.rope_config import RopeKind, RopeSpec
from vox_tensor.fused_kernels import fused
from vox_tensor.fused_parts import FusedPart
from vox_tensor.varlen_attention import segment_borders


class RotaryTable(NamedTuple):
    """Cosine and sine per token, each `[T, 1, F]` float32, to broadcast over heads."""

    cos: Tensor
    sin: Tensor


def rotary_table(
    spec: RopeSpec, dim: int, positions_T: Tensor, offsets: tuple[int, ...]
) -> RotaryTable:
    """Angles of each position, scaled by the rule's attention factor.

    Args:
        spec: The rule.
        dim: Features of a head that are rotated.
        positions_T: Place of each token in its row.
        offsets: Borders of the segments; each ends where its row ends, or has come to.
    """
    device = positions_T.device
    frequencies, attention_factor = _frequencies_on(device, spec, dim)
    if spec.kind is RopeKind.LONGROPE:
        long_F, _ = _frequencies_on(device, spec, dim, is_long=True)
        long_T = _is_long(spec, positions_T, offsets)
        frequencies = torch.where(long_T.unsqueeze(1), long_F, frequencies)
    angles_TF = positions_T.float().unsqueeze(1) * frequencies
    cos, sin = (f(angles_TF).mul_(attention_factor).unsqueeze(1) for f in (torch.cos, torch.sin))
    return RotaryTable(cos, sin)


class Rotation(NamedTuple):
    """The tables of queries and of keys: one and the same in most families."""

    queries: RotaryTable
    keys: RotaryTable


def rotation(spec: RopeSpec, dim: int, positions_T: Tensor, offsets: tuple[int, ...]) -> Rotation:
    """Both tables; the arguments are those of `rotary_table`."""
    keys = rotary_table(spec, dim, positions_T, offsets)
    return Rotation(query_table(spec, keys, positions_T), keys)


def query_table(spec: RopeSpec, table: RotaryTable, positions_T: Tensor) -> RotaryTable:
    """The table for queries, which grow with their position in some families."""
    if not spec.query_growth:
        return table
    stretch_T = torch.log(1 + positions_T // _original_context(spec)) * spec.query_growth + 1
    stretch = stretch_T.unsqueeze(1).unsqueeze(1)
    return RotaryTable(table.cos * stretch, table.sin * stretch)


@lru_cache(maxsize=16)
def _frequencies_on(
    device: torch.device, spec: RopeSpec, dim: int, *, is_long: bool = False
) -> tuple[Tensor, float]:
    """`rotary_frequencies` on a device, copied once: a copy makes the host wait for the device."""
    with torch.inference_mode(mode=False):
        frequencies_F, factor = rotary_frequencies(spec, dim, is_long=is_long)
        return frequencies_F.to(device), factor


def _is_long(spec: RopeSpec, positions_T: Tensor, offsets: tuple[int, ...]) -> Tensor:
    """Which tokens are of a row longer than the original context: `[T]`.

    The length of a row, and not a token's place in it, decides for all its tokens.
    """
    borders_S = segment_borders(offsets, positions_T.device).long()
    is_long_S = positions_T[borders_S[1:] - 1] + 1 > _original_context(spec)
    return is_long_S.repeat_interleave(borders_S.diff(), output_size=offsets[-1])


def rotary_frequencies(spec: RopeSpec, dim: int, *, is_long: bool = False) -> tuple[Tensor, float]:
    """Inverse frequencies `[F]` in float32 and the factor of cosine and sine.

    Args:
        spec: The rule.
        dim: Features of a head that are rotated.
        is_long: For rows beyond the original context; it matters to LongRoPE only.
    """
    exponents_F = torch.arange(0, dim, 2, dtype=torch.int64).float() / dim
    plain_F = 1.0 / (spec.theta**exponents_F)
    if spec.kind is RopeKind.LONGROPE:
        factors_F = torch.tensor(spec.long_factors if is_long else spec.short_factors)
        return 1.0 / (factors_F * spec.theta**exponents_F), _given(spec.attention_factor)
    if spec.kind is RopeKind.LINEAR:
        return plain_F / spec.factor, 1.0
    if spec.kind is RopeKind.LLAMA3:
        return _llama3(plain_F, spec), 1.0
    if spec.kind is RopeKind.YARN:
        return _yarn(spec.theta**exponents_F, spec, dim), spec.yarn_attention_factor
    return plain_F, 1.0


def _llama3(plain_F: Tensor, spec: RopeSpec) -> Tensor:
    """Keep short wavelengths, divide long ones by the factor, blend between."""
    context = _original_context(spec)
    low, high = _given(spec.low_freq_factor), _given(spec.high_freq_factor)
    wavelength_F = 2 * math.pi / plain_F
    scaled_F = torch.where(wavelength_F > context / low, plain_F / spec.factor, plain_F)
    smooth_F = (context / wavelength_F - low) / (high - low)
    blended_F = (1 - smooth_F) * scaled_F / spec.factor + smooth_F * scaled_F
    is_between = (wavelength_F >= context / high) & (wavelength_F <= context / low)
    return torch.where(is_between, blended_F, scaled_F)


def _yarn(position_F: Tensor, spec: RopeSpec, dim: int) -> Tensor:
    """Interpolate dimensions that turn slowly, keep those that turn fast, ramp between."""
    low, high = (
        dim
        * math.log(_original_context(spec) / (rotations * 2 * math.pi))
        / (2 * math.log(spec.theta))
        for rotations in (spec.beta_fast, spec.beta_slow)
    )
    if spec.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001
    ramp_F = (torch.arange(dim // 2, dtype=torch.float32) - low) / (high - low)
    keep_F = 1 - ramp_F.clamp(0, 1)
    return (1.0 / (spec.factor * position_F)) * (1 - keep_F) + (1.0 / position_F) * keep_F


def _original_context(spec: RopeSpec) -> int:
    assert spec.original_max_positions is not None, "the config reader fills this in"
    return spec.original_max_positions


def _given(value: float | None) -> float:
    assert value is not None, "the config reader fills this in for this kind"
    return value


def apply_rotary(x_THE: Tensor, table: RotaryTable) -> Tensor:
    """Rotate each head's pairs `(x[i], x[i + F])` by the token's angle; arithmetic in float32.

    Features behind the last pair stay as they are.
    """
    rotate = _apply_rotate if torch.is_grad_enabled() else _rotate
    return rotate(x_THE, table.cos, table.sin)


class _Rotate(torch.autograd.Function):
    """A rotation that saves no activation: its backward pass is the opposite rotation."""

    @staticmethod
    def forward(ctx: Any, x_THE: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(x_THE, cos, sin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        cos, sin = ctx.saved_tensors
        return _rotate(grads[0], cos, sin, is_back=True), None, None


# torch leaves `apply` unannotated; the name gives it a type.
_apply_rotate: Callable[..., Tensor] = _Rotate.apply


def _rotate(x_THE: Tensor, cos: Tensor, sin: Tensor, *, is_back: bool = False) -> Tensor:
    kernels = fused(FusedPart.TURN, x_THE)
    if kernels is not None:
        turned: Tensor = kernels.rotate(x_THE, cos, sin, is_back=is_back)
        return turned
    if is_back:
        sin = -sin
    half = cos.shape[-1]
    first, second = x_THE[..., :half], x_THE[..., half : 2 * half]
    out = torch.empty_like(x_THE, memory_format=torch.contiguous_format)
    out[..., :half] = first * cos - second * sin
    out[..., half : 2 * half] = second * cos + first * sin
    out[..., 2 * half :] = x_THE[..., 2 * half :]
    return out
