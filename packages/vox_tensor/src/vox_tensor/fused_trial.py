"""A small trial of each fused kernel: its values against the definition, in float32 on the CPU.

Shape letters: T tokens, H heads, E head dim, F features of an MLP, C rows, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from vox_tensor.fused_parts import FusedPart, NormRule

_ALLOWED = {torch.bfloat16: 0.03, torch.float16: 0.004, torch.float32: 2e-5}
"""Largest difference from the definition, over one plus the value: each number has up to five
roundings to the dtype behind it (bf16: 0.004), or sums in another order."""
_EPS = 1e-6
_RULES = (NormRule(_EPS), NormRule(_EPS, 1.0, is_wide=True))
_ACTIVATIONS: dict[FusedPart, Callable[[Tensor], Tensor]] = {
    FusedPart.SILU: F.silu,
    FusedPart.GELU: F.gelu,
    FusedPart.GELU_TANH: lambda u: F.gelu(u, approximate="tanh"),
}


class _Place(NamedTuple):
    """A device and a dtype to try kernels with; it draws their arguments."""

    device: torch.device
    dtype: torch.dtype
    generator: torch.Generator

    def drawn(self, *shape: int) -> Tensor:
        """Values on the CPU in float32 that the dtype holds exactly."""
        return (
            torch.randn(shape, generator=self.generator).to(torch.bfloat16).to(self.dtype).float()
        )

    def there(self, *tensors: Tensor) -> list[Tensor]:
        """The same values where the kernel is."""
        return [t.detach().to(self.device, self.dtype) for t in tensors]


_Pairs = Iterator[tuple[Tensor, Tensor]]
"""What was found and what the definition says."""


@torch.inference_mode(mode=False)
@torch.enable_grad()
def trial_of(part: FusedPart, kernels: Any, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a part's kernels differ from its definition.

    Args:
        part: The part.
        kernels: The module that has them.
        device: Where to try them.
        dtype: In which dtype.
    """
    place = _Place(device, dtype, torch.Generator().manual_seed(0))
    pairs = _gate(kernels, place, part) if part in _ACTIVATIONS else _TRIALS[part](kernels, place)
    # The first call may be inside a block whose activations are computed again.
    with saved_tensors_hooks(lambda saved: saved, lambda kept: kept):
        # NaN is not allowed either.
        return not all(_apart(*pair) <= _ALLOWED[dtype] for pair in pairs)


def _apart(found: Tensor, expected: Tensor) -> float:
    return float(((found.float().cpu() - expected).abs() / (1 + expected.abs())).max())


def _norm(kernels: Any, place: _Place) -> _Pairs:
    for rule in _RULES:
        x, weight, g = place.drawn(9, 200)[:, :100], place.drawn(100), place.drawn(9, 100)
        x.requires_grad_()
        expected = _normed(x, weight + rule.centre)
        (dx,) = _gradients(expected, (x,), g)
        x_there, weight_there, g_there = place.there(x, weight, g)
        yield kernels.rms_norm(x_there, weight_there, rule), expected.detach()
        yield kernels.rms_norm_backward(g_there, x_there, weight_there, rule), dx


def _turn(kernels: Any, place: _Place) -> _Pairs:
    angles = torch.linspace(0.0, 9.0, 7 * 12).view(7, 1, 12)
    table = tuple(t.to(place.device) for t in (angles.cos(), angles.sin()))
    for width in (24, 30):
        x = place.drawn(7, 3, width)
        (there,) = place.there(x)
        yield kernels.rotate(there, *table), _turned(x, angles)
        yield kernels.rotate(there, *table, is_back=True), _turned(x, -angles)


def _normed_turn(kernels: Any, place: _Place) -> _Pairs:
    angles = torch.linspace(0.0, 9.0, 7 * 12).view(7, 1, 12)
    table = tuple(t.to(place.device) for t in (angles.cos(), angles.sin()))
    for rule in _RULES:
        weight, g = place.drawn(24), place.drawn(7, 3, 24)
        x = place.drawn(7, 3, 24).requires_grad_()
        expected = _turned(_normed(x, weight + rule.centre), angles)
        (dx,) = _gradients(expected, (x,), g)
        x_there, weight_there, g_there = place.there(x, weight, g)
        yield kernels.normed_rotate(x_there, weight_there, table, rule), expected.detach()
        yield kernels.normed_rotate_backward(g_there, x_there, weight_there, table, rule), dx


def _gate(kernels: Any, place: _Place, kind: FusedPart) -> _Pairs:
    u, up, g = place.drawn(5, 100), place.drawn(5, 100), place.drawn(5, 100)
    leaves = (u.mul_(3).requires_grad_(), up.requires_grad_())
    expected = _ACTIVATIONS[kind](u) * up
    expected_du, expected_dup = _gradients(expected, leaves, g)
    u_there, up_there, g_there = place.there(u, up, g)
    yield kernels.gate(u_there, up_there, kind.value), expected.detach()
    h, du, dup = kernels.gate_backward(g_there, u_there, up_there, kind.value)
    yield h, expected.detach()
    yield du, expected_du
    yield dup, expected_dup


def _loss(kernels: Any, place: _Place) -> _Pairs:
    logits = place.drawn(3, 9000).requires_grad_()
    targets = torch.tensor([0, 8999, 4500])
    weights = torch.tensor([1.0, 0.5, 2.0])
    expected = F.cross_entropy(logits, targets, reduction="none") * weights
    (g,) = _gradients(expected, (logits,), torch.ones(3))
    (there,) = place.there(logits)
    on_device = targets.to(place.device), weights.to(place.device)
    for wants_gradient in (False, True):
        found = kernels.row_losses(there, *on_device, wants_gradient=wants_gradient)
        yield found, expected.detach()
        yield there, g if wants_gradient else logits.detach()


_TRIALS: dict[FusedPart, Callable[[Any, _Place], _Pairs]] = {
    FusedPart.NORM: _norm,
    FusedPart.TURN: _turn,
    FusedPart.NORMED_TURN: _normed_turn,
    FusedPart.LOSS: _loss,
}


def _gradients(out: Tensor, leaves: tuple[Tensor, ...], g: Tensor) -> tuple[Tensor, ...]:
    # `torch.autograd.grad` with a gradient imports torch's compiler, for seconds.
    (out * g).sum().backward()
    return tuple(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves)


def _normed(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + _EPS) * weight


def _turned(x_THE: Tensor, angles: Tensor) -> Tensor:
    half = angles.shape[-1]
    first, second, rest = x_THE.split([half, half, x_THE.shape[-1] - 2 * half], dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin, rest], dim=-1)
