"""The part of `gpu_check.py` that measures our pointwise kernels beside torch's operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from gpu_place import Place, seconds_of, without_kernels
from torch import Tensor

from vox_populi.hf.rope_config import RopeKind, RopeSpec
from vox_populi.model.head_rotation import normed_rotary
from vox_populi.model.norm import RmsNorm
from vox_populi.model.rotary import RotaryTable, apply_rotary, rotary_table
from vox_tensor.fused_kernels import why_not_fused
from vox_tensor.fused_parts import FusedPart
from vox_tensor.gated_mlp import ActivationKind, activated_down
from vox_tensor.head_loss import linear_cross_entropy
from vox_tensor.lora import Projection

_Values = Mapping[str, Tensor]
_Case = tuple[Callable[[], _Values], int]
"""What computes named values, and the bytes that it has to read and write."""


def pointwise(place: Place) -> dict[str, Any]:
    """Largest differences from torch's operations, which share is equal, and the rates of both."""
    kinds = {part: why_not_fused(part, place.device, place.dtype) for part in FusedPart}
    result: dict[str, Any] = {"objections": {p.value: why for p, why in kinds.items() if why}}
    for name, (compute, n_bytes) in _cases(place).items():
        found = compute()
        seconds = seconds_of(compute, place)
        with without_kernels():
            expected = compute()
            torch_seconds = seconds_of(compute, place)
        result[name] = {
            **_apart(found, expected),
            "bytes_per_s": n_bytes / seconds,
            "torch_bytes_per_s": n_bytes / torch_seconds,
        }
        del found, expected
    return result


def _apart(found: _Values, expected: _Values) -> dict[str, float]:
    pairs = [(found[key].float(), expected[key].float()) for key in expected]
    return {
        "apart": max(float(((a - b).abs() / (1 + b.abs())).max()) for a, b in pairs),
        "equal": min(float((a == b).float().mean()) for a, b in pairs),
    }


def _cases(place: Place) -> dict[str, _Case]:
    """Shapes of Qwen3-8B and a window of 8192 tokens."""
    tokens, width, inner, vocab = (64, 96, 160, 320)
    if not place.is_tiny:
        tokens, width, inner, vocab = (8192, 4096, 12_288, 151_936)
    return {
        "norm": _norm(place, tokens, width),
        "rotation": _heads(place, tokens, width, has_norm=False),
        "norm and rotation": _heads(place, tokens, width, has_norm=True),
        **{kind.value: _gate(place, tokens, inner, kind) for kind in ActivationKind},
        "loss": _loss(place, min(tokens, 2048), vocab),
    }


def _drawn(place: Place, seed: int, *shape: int) -> Tensor:
    generator = torch.Generator(device=place.device).manual_seed(seed)
    return torch.randn(shape, generator=generator, device=place.device).to(place.dtype)


def _norm(place: Place, tokens: int, width: int) -> _Case:
    """Forward, and the input gradient, as a block asks for them."""
    norm = RmsNorm(width, 1e-6).to(place.device, place.dtype).requires_grad_(requires_grad=False)
    x, g = _drawn(place, 1, tokens, width), _drawn(place, 2, tokens, width)

    def compute() -> _Values:
        with torch.no_grad():
            return {"out": norm(x), "dx": norm.input_gradient(g, x)}

    return compute, 5 * x.nbytes


def _heads(place: Place, tokens: int, width: int, *, has_norm: bool) -> _Case:
    """Queries of 128 features, forward and backward."""
    dim = 32 if place.is_tiny else 128
    table = _table(place, tokens, dim)
    norm = RmsNorm(dim, 1e-6).to(place.device, place.dtype).requires_grad_(requires_grad=False)
    x = _drawn(place, 1, tokens, width // dim, dim).requires_grad_()
    g = _drawn(place, 2, tokens, width // dim, dim)

    def compute() -> _Values:
        out = normed_rotary(x, norm, table) if has_norm else apply_rotary(x, table)
        return {"out": out.detach(), "dx": _gradients(out, (x,), g)[0]}

    return compute, (5 if has_norm else 4) * x.nbytes


def _table(place: Place, tokens: int, dim: int) -> RotaryTable:
    positions = torch.arange(tokens, device=place.device) % 2048
    return rotary_table(RopeSpec(kind=RopeKind.DEFAULT, theta=1e6), dim, positions, (0, tokens))


def _gate(place: Place, tokens: int, inner: int, kind: ActivationKind) -> _Case:
    """The gate with a down projection to a single feature, forward and backward."""
    u, up = (_drawn(place, seed, tokens, inner).requires_grad_() for seed in (1, 2))
    down = Projection(_drawn(place, 3, 8, inner), None)
    g = _drawn(place, 4, tokens, 8)

    def compute() -> _Values:
        out = activated_down(u, up, kind, down)
        du, dup = _gradients(out, (u, up), g)
        return {"du": du, "dup": dup}

    # Forward: two read, one written; backward: the gradient written, then three read and written.
    return compute, 10 * u.nbytes


def _loss(place: Place, rows: int, vocab: int) -> _Case:
    """The head's loss on a narrow hidden state, so that the products take little."""
    h = _drawn(place, 1, rows, 64).requires_grad_()
    head = Projection(_drawn(place, 2, vocab, 64).mul_(0.1), None)
    targets = torch.arange(rows, device=place.device) % vocab

    def compute() -> _Values:
        loss = linear_cross_entropy(h, head, targets)
        loss.backward()
        assert h.grad is not None
        dh, h.grad = h.grad, None
        return {"loss": loss.detach() / rows, "dh": dh}

    # The logits written by a product, read twice, written as a gradient and read by a product.
    return compute, 5 * rows * vocab * h.element_size()


def _gradients(out: Tensor, leaves: tuple[Tensor, ...], g: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(out, leaves, g)
