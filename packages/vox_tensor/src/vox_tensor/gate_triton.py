"""The gate of an MLP on a GPU: activation and product in one kernel, and their backward pass.

The arithmetic is that of the torch operations that it takes the place of: float32, rounded to the
tensors' dtype after the activation and after each product. Exponentials and error functions are
the GPU's, so they differ in their last bits from torch's. The kernels are bound by memory.

Import it only where Triton is installed. Shape letters: T tokens, F features of the MLP; B features
of a program.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from vox_tensor.triton_launch import current, n_warps

_COLUMNS = 2048


@triton.jit
def sigmoid(u):  # type: ignore[no-untyped-def]  # Triton finds the types of its arguments
    """The logistic function."""
    return 1.0 / (1.0 + tl.exp(-u))


@triton.jit
def tanh_sigmoid(u):  # type: ignore[no-untyped-def]  # as above
    """`(1 + tanh(z)) / 2` of GELU's tanh form, with z = sqrt(2 / pi) * (u + 0.044715 * u^3)."""
    return sigmoid(1.5957691216057308 * (u + 0.044715 * u * u * u))


@triton.jit
def normal_cdf(u):  # type: ignore[no-untyped-def]  # as above
    """Probability that a standard normal number is below."""
    return 0.5 * (1.0 + tl.erf(u * 0.7071067811865476))


@triton.jit  # type: ignore[untyped-decorator]  # Triton may be missing where types are checked
def activated(u, KIND: tl.constexpr):  # type: ignore[no-untyped-def]  # as above
    """The activation."""
    if KIND == "silu":
        return u * sigmoid(u)
    if KIND == "gelu":
        return u * normal_cdf(u)
    return u * tanh_sigmoid(u)


@triton.jit  # type: ignore[untyped-decorator]  # as above
def slope(u, KIND: tl.constexpr):  # type: ignore[no-untyped-def]  # as above
    """Its derivative."""
    if KIND == "silu":
        s = sigmoid(u)
        return s * (1.0 + u * (1.0 - s))
    if KIND == "gelu":
        density = 0.3989422804014327 * tl.exp(-0.5 * u * u)
        return normal_cdf(u) + u * density
    s = tanh_sigmoid(u)
    inner = 0.7978845608028654 * (1.0 + 0.134145 * u * u)
    return s + 2.0 * u * s * (1.0 - s) * inner


@triton.jit  # type: ignore[untyped-decorator]  # as above
def gate_rows(  # type: ignore[no-untyped-def]  # as above
    u, up, out, u_stride, up_stride, width, n_parts, KIND: tl.constexpr, B: tl.constexpr
):
    """`round(round(act(u)) * up)` for B features of a token."""
    row = (tl.program_id(0) // n_parts).to(tl.int64)
    column_B = tl.program_id(0) % n_parts * B + tl.arange(0, B)
    is_there = column_B < width
    u_B = tl.load(u + row * u_stride + column_B, mask=is_there, other=0.0).to(tl.float32)
    up_B = tl.load(up + row * up_stride + column_B, mask=is_there, other=0.0).to(tl.float32)
    act_B = activated(u_B, KIND).to(out.dtype.element_ty).to(tl.float32)
    place = out + row * width + column_B
    tl.store(place, (act_B * up_B).to(out.dtype.element_ty), mask=is_there)


@triton.jit  # type: ignore[untyped-decorator]  # as above
def gate_rows_back(  # type: ignore[no-untyped-def]  # as above
    dh,
    u,
    up,
    out,
    du,
    dup,
    u_stride,
    up_stride,
    width,
    n_parts,
    KIND: tl.constexpr,
    B: tl.constexpr,
):
    """The product again, and the gradients of `u` and `up`; `du` may be `dh` itself."""
    row = (tl.program_id(0) // n_parts).to(tl.int64)
    column_B = tl.program_id(0) % n_parts * B + tl.arange(0, B)
    is_there = column_B < width
    u_B = tl.load(u + row * u_stride + column_B, mask=is_there, other=0.0).to(tl.float32)
    up_B = tl.load(up + row * up_stride + column_B, mask=is_there, other=0.0).to(tl.float32)
    place = row * width + column_B
    dh_B = tl.load(dh + place, mask=is_there, other=0.0).to(tl.float32)
    act_B = activated(u_B, KIND).to(out.dtype.element_ty).to(tl.float32)
    tl.store(out + place, (act_B * up_B).to(out.dtype.element_ty), mask=is_there)
    tl.store(dup + place, (act_B * dh_B).to(out.dtype.element_ty), mask=is_there)
    dact_B = (dh_B * up_B).to(out.dtype.element_ty).to(tl.float32)
    tl.store(du + place, (dact_B * slope(u_B, KIND)).to(out.dtype.element_ty), mask=is_there)


def gate(u_TF: Tensor, up_TF: Tensor, kind: str) -> Tensor:
    """`act(u) * up`.

    Args:
        u_TF: What is activated.
        up_TF: What the result is multiplied with.
        kind: A value of `gated_mlp.ActivationKind`.
    """
    u, up = _rows(u_TF), _rows(up_TF)
    out = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    if out.numel():
        n_parts = -(-u.shape[1] // _COLUMNS)
        with current(u.device):
            gate_rows[(u.shape[0] * n_parts,)](
                u, up, out, u.stride(0), up.stride(0), u.shape[1], n_parts, kind, _COLUMNS,
                num_warps=n_warps(1, _COLUMNS), enable_fp_fusion=False,
            )  # fmt: skip
    return out


def gate_backward(
    dh_TF: Tensor, u_TF: Tensor, up_TF: Tensor, kind: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The result of `gate`, and the gradients of `u` and `up`; `dh` may be overwritten."""
    u, up = _rows(u_TF), _rows(up_TF)
    du = dh_TF.contiguous()
    out, dup = torch.empty_like(du), torch.empty_like(du)
    if out.numel():
        n_parts = -(-u.shape[1] // _COLUMNS)
        with current(u.device):
            gate_rows_back[(u.shape[0] * n_parts,)](
                du, u, up, out, du, dup, u.stride(0), up.stride(0), u.shape[1], n_parts,
                kind, _COLUMNS, num_warps=n_warps(1, _COLUMNS), enable_fp_fusion=False,
            )  # fmt: skip
    return out, du, dup


def _rows(x_TF: Tensor) -> Tensor:
    return x_TF if x_TF.stride(-1) == 1 else x_TF.contiguous()
