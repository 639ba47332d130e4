"""RMSNorm and rotary embedding on a GPU, one kernel for each pass over the data.

The arithmetic is that of the torch operations that they take the place of: float32, rounded to the
tensors' dtype where those do. Sums over a row are added in another order, so a norm's scale
differs in its last bits; a rotation is the same bit for bit. The kernels are bound by memory.

Import it only where Triton is installed. Shape letters: N rows, D features of a row, T tokens,
H heads, E head dim, F frequencies: half of the features that are rotated; of a program, R rows and
B columns, a power of two.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from vox_tensor.fused_parts import NormRule
from vox_tensor.triton_launch import current, n_warps, rows_together


@triton.jit(do_not_specialize=["n_rows"])  # type: ignore[untyped-decorator]  # Triton may be missing
def norm_rows(  # type: ignore[no-untyped-def]  # Triton finds the types of its arguments
    x,
    weight,
    out,
    n_rows,
    stride,
    width,
    eps,
    centre,
    IS_WIDE: tl.constexpr,
    R: tl.constexpr,
    B: tl.constexpr,
):
    """`round(round(x * scale) * weight)` for R rows; a wide one is rounded once."""
    row_R = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    column_B = tl.arange(0, B)
    is_there = (row_R < n_rows)[:, None] & (column_B < width)[None, :]
    weight_B = tl.load(weight + column_B, mask=column_B < width, other=0.0).to(tl.float32) + centre
    place = row_R[:, None] * stride + column_B[None, :]
    wide = tl.load(x + place, mask=is_there, other=0.0).to(tl.float32)
    scale_R = tl.rsqrt(tl.sum(wide * wide, 1) / width + eps)
    normed = wide * scale_R[:, None]
    if not IS_WIDE:
        normed = normed.to(out.dtype.element_ty).to(tl.float32)
    place = row_R[:, None] * width + column_B[None, :]
    tl.store(out + place, (normed * weight_B[None, :]).to(out.dtype.element_ty), mask=is_there)


@triton.jit(do_not_specialize=["n_rows"])  # type: ignore[untyped-decorator]  # as above
def norm_rows_back(  # type: ignore[no-untyped-def]  # as above
    g,
    x,
    weight,
    dx,
    n_rows,
    g_stride,
    stride,
    width,
    eps,
    centre,
    R: tl.constexpr,
    B: tl.constexpr,
):
    """`gw * scale - x * scale^3 * mean(gw * x)` for R rows, with `gw = g * weight`."""
    row_R = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    column_B = tl.arange(0, B)
    is_there = (row_R < n_rows)[:, None] & (column_B < width)[None, :]
    weight_B = tl.load(weight + column_B, mask=column_B < width, other=0.0).to(tl.float32) + centre
    place = row_R[:, None] * stride + column_B[None, :]
    wide = tl.load(x + place, mask=is_there, other=0.0).to(tl.float32)
    place = row_R[:, None] * g_stride + column_B[None, :]
    gw = tl.load(g + place, mask=is_there, other=0.0).to(tl.float32) * weight_B[None, :]
    scale_R = tl.rsqrt(tl.sum(wide * wide, 1) / width + eps)
    mean_R = tl.sum(gw * wide, 1) / width * (scale_R * scale_R * scale_R)
    place = row_R[:, None] * width + column_B[None, :]
    back = gw * scale_R[:, None] - wide * mean_R[:, None]
    tl.store(dx + place, back.to(dx.dtype.element_ty), mask=is_there)


@triton.jit(do_not_specialize=["n_rows"])  # type: ignore[untyped-decorator]  # as above
def turn_heads(  # type: ignore[no-untyped-def]  # as above
    x,
    weight,
    cos,
    sin,
    out,
    n_rows,
    token_stride,
    head_stride,
    n_heads,
    width,
    half,
    eps,
    centre,
    HAS_NORM: tl.constexpr,
    IS_WIDE: tl.constexpr,
    IS_BACK: tl.constexpr,
    HAS_REST: tl.constexpr,
    R: tl.constexpr,
    B: tl.constexpr,
):
    """Rotate R heads, after norming them if asked to, or rotate them back."""
    row_R = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    column_B = tl.arange(0, B)
    token_R = row_R // n_heads
    source_R = token_R * token_stride + (row_R % n_heads) * head_stride
    is_there = (row_R < n_rows)[:, None] & (column_B < half)[None, :]
    place = x + source_R[:, None] + column_B[None, :]
    first = tl.load(place, mask=is_there, other=0.0).to(tl.float32)
    second = tl.load(place + half, mask=is_there, other=0.0).to(tl.float32)
    if HAS_NORM:
        square_R = tl.sum(first * first, 1) + tl.sum(second * second, 1)
        scale_R = tl.rsqrt(square_R / width + eps)
        is_pair = column_B < half
        first_B = tl.load(weight + column_B, mask=is_pair, other=0.0).to(tl.float32) + centre
        second_B = tl.load(weight + half + column_B, mask=is_pair, other=0.0)
        second_B = second_B.to(tl.float32) + centre
        first = first * scale_R[:, None]
        second = second * scale_R[:, None]
        if not IS_WIDE:
            first = first.to(out.dtype.element_ty).to(tl.float32)
            second = second.to(out.dtype.element_ty).to(tl.float32)
        first = (first * first_B[None, :]).to(out.dtype.element_ty).to(tl.float32)
        second = (second * second_B[None, :]).to(out.dtype.element_ty).to(tl.float32)
    angle = token_R[:, None] * half + column_B[None, :]
    c = tl.load(cos + angle, mask=is_there, other=0.0)
    s = tl.load(sin + angle, mask=is_there, other=0.0)
    if IS_BACK:
        s = -s
    place = out + row_R[:, None] * width + column_B[None, :]
    tl.store(place, (first * c - second * s).to(out.dtype.element_ty), mask=is_there)
    tl.store(place + half, (second * c + first * s).to(out.dtype.element_ty), mask=is_there)
    if HAS_REST:
        # As many columns as there are pairs at a time, up to the head's end.
        for start in range(2 * half, width, B):
            column = start + column_B
            is_rest = (row_R < n_rows)[:, None] & (column < width)[None, :]
            rest = tl.load(x + source_R[:, None] + column[None, :], mask=is_rest, other=0.0)
            tl.store(out + row_R[:, None] * width + column[None, :], rest, mask=is_rest)


@triton.jit(do_not_specialize=["n_rows"])  # type: ignore[untyped-decorator]  # as above
def turn_normed_heads_back(  # type: ignore[no-untyped-def]  # as above
    g,
    x,
    weight,
    cos,
    sin,
    dx,
    n_rows,
    g_token_stride,
    g_head_stride,
    token_stride,
    head_stride,
    n_heads,
    half,
    eps,
    centre,
    R: tl.constexpr,
    B: tl.constexpr,
):
    """The gradient of R heads that were normed and then rotated in full."""
    row_R = tl.program_id(0).to(tl.int64) * R + tl.arange(0, R)
    column_B = tl.arange(0, B)
    token_R, head_R = row_R // n_heads, row_R % n_heads
    is_there = (row_R < n_rows)[:, None] & (column_B < half)[None, :]
    angle = token_R[:, None] * half + column_B[None, :]
    c = tl.load(cos + angle, mask=is_there, other=0.0)
    s = -tl.load(sin + angle, mask=is_there, other=0.0)
    place = g + (token_R * g_token_stride + head_R * g_head_stride)[:, None] + column_B[None, :]
    g_first = tl.load(place, mask=is_there, other=0.0).to(tl.float32)
    g_second = tl.load(place + half, mask=is_there, other=0.0).to(tl.float32)
    is_pair = column_B < half
    first_B = tl.load(weight + column_B, mask=is_pair, other=0.0).to(tl.float32) + centre
    second_B = tl.load(weight + half + column_B, mask=is_pair, other=0.0).to(tl.float32) + centre
    # Rounded between the rotation and the norm, as two functions round.
    back = (g_first * c - g_second * s).to(dx.dtype.element_ty).to(tl.float32)
    gw_second = (g_second * c + g_first * s).to(dx.dtype.element_ty).to(tl.float32)
    gw_first = back * first_B[None, :]
    gw_second = gw_second * second_B[None, :]
    place = x + (token_R * token_stride + head_R * head_stride)[:, None] + column_B[None, :]
    first = tl.load(place, mask=is_there, other=0.0).to(tl.float32)
    second = tl.load(place + half, mask=is_there, other=0.0).to(tl.float32)
    width = 2 * half
    square_R = tl.sum(first * first, 1) + tl.sum(second * second, 1)
    scale_R = tl.rsqrt(square_R / width + eps)
    mean_R = (tl.sum(gw_first * first, 1) + tl.sum(gw_second * second, 1)) / width
    mean_R = mean_R * (scale_R * scale_R * scale_R)
    place = dx + row_R[:, None] * width + column_B[None, :]
    gw_first = gw_first * scale_R[:, None] - first * mean_R[:, None]
    gw_second = gw_second * scale_R[:, None] - second * mean_R[:, None]
    tl.store(place, gw_first.to(dx.dtype.element_ty), mask=is_there)
    tl.store(place + half, gw_second.to(dx.dtype.element_ty), mask=is_there)


def rms_norm(x: Tensor, weight_D: Tensor, rule: NormRule) -> Tensor:
    """Norm the last dimension of `[..., D]`."""
    x_ND = _rows(x)
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    width = x.shape[-1]
    tile = _tile(width)
    if out.numel():
        with current(x.device):
            norm_rows[(-(-x_ND.shape[0] // tile[0]),)](
                x_ND, weight_D, out, x_ND.shape[0], x_ND.stride(0), width, *rule, *tile,
                num_warps=n_warps(*tile), enable_fp_fusion=False,
            )  # fmt: skip
    return out


def rms_norm_backward(g: Tensor, x: Tensor, weight_D: Tensor, rule: NormRule) -> Tensor:
    """Gradient of the `x` of `rms_norm` for the gradient `g` of its result."""
    g_ND, x_ND = _rows(g), _rows(x)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    width = x.shape[-1]
    tile = _tile(width)
    if dx.numel():
        with current(x.device):
            norm_rows_back[(-(-x_ND.shape[0] // tile[0]),)](
                g_ND, x_ND, weight_D, dx, x_ND.shape[0], g_ND.stride(0), x_ND.stride(0), width,
                rule.eps, rule.centre, *tile, num_warps=n_warps(*tile), enable_fp_fusion=False,
            )  # fmt: skip
    return dx


def rotate(x_THE: Tensor, cos: Tensor, sin: Tensor, *, is_back: bool = False) -> Tensor:
    """Rotate the first `2 * F` features of each head by angles `[T, 1, F]`, or back."""
    return _turned(x_THE, None, (cos, sin), NormRule(0.0), is_back=is_back)


def normed_rotate(
    x_THE: Tensor, weight_E: Tensor, table: tuple[Tensor, Tensor], rule: NormRule
) -> Tensor:
    """`rotate(rms_norm(x))` where all features of a head are rotated."""
    return _turned(x_THE, weight_E, table, rule, is_back=False)


def _turned(
    x_THE: Tensor,
    weight_E: Tensor | None,
    table: tuple[Tensor, Tensor],
    rule: NormRule,
    *,
    is_back: bool,
) -> Tensor:
    x = _contiguous_heads(x_THE)
    cos, sin = (each.contiguous() for each in table)
    n_tokens, n_heads, width = x.shape
    half = cos.shape[-1]
    out = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    tile = _tile(half)
    if out.numel():
        n_rows = n_tokens * n_heads
        with current(x.device):
            turn_heads[(-(-n_rows // tile[0]),)](
                x, x if weight_E is None else weight_E, cos, sin, out,
                n_rows, x.stride(0), x.stride(1), n_heads, width, half, rule.eps,
                rule.centre, weight_E is not None, rule.is_wide, is_back, 2 * half < width, *tile,
                num_warps=n_warps(*tile), enable_fp_fusion=False,
            )  # fmt: skip
    return out


def normed_rotate_backward(
    g_THE: Tensor, x_THE: Tensor, weight_E: Tensor, table: tuple[Tensor, Tensor], rule: NormRule
) -> Tensor:
    """Gradient of the `x` of `normed_rotate` for the gradient `g` of its result."""
    g, x = _contiguous_heads(g_THE), _contiguous_heads(x_THE)
    n_tokens, n_heads, _ = x.shape
    cos, sin = (each.contiguous() for each in table)
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    tile = _tile(cos.shape[-1])
    if dx.numel():
        n_rows = n_tokens * n_heads
        with current(x.device):
            turn_normed_heads_back[(-(-n_rows // tile[0]),)](
                g, x, weight_E, cos, sin, dx, n_rows, g.stride(0), g.stride(1),
                x.stride(0), x.stride(1), n_heads, cos.shape[-1], rule.eps, rule.centre, *tile,
                num_warps=n_warps(*tile), enable_fp_fusion=False,
            )  # fmt: skip
    return dx


def _rows(x: Tensor) -> Tensor:
    """The rows as `[N, D]`, with the features of each side by side."""
    x_ND = x.reshape(-1, x.shape[-1])
    return x_ND if x_ND.stride(-1) == 1 else x_ND.contiguous()


def _contiguous_heads(x_THE: Tensor) -> Tensor:
    return x_THE if x_THE.stride(-1) == 1 else x_THE.contiguous()


def _tile(width: int) -> tuple[int, int]:
    columns = triton.next_power_of_2(width)
    return rows_together(columns), columns
