"""Whether compiling the pointwise parts pays: norms, rotation, gate. An experiment.

Inductor makes one kernel of each. The program itself compiles nothing: importing the compiler and
compiling take longer than many runs, and only a card can tell what is gained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from gpu_place import Place
from torch import Tensor

from vox_populi.model import norm, rotary
from vox_tensor import gated_mlp
from vox_tensor.gated_mlp import ActivationKind
from vox_tensor.lora import Projection, project


@contextmanager
def compiled_parts(place: Place) -> Iterator[None]:
    """A block in which pointwise parts are compiled, for any number of tokens."""
    settings: dict[str, Any] = {"dynamic": True, "fullgraph": True}
    if place.is_tiny:
        settings["backend"] = "eager"
    plain: tuple[Callable[..., Any], ...] = (
        _normed,
        _normed_back,
        _gate,
        gated_mlp._inner_gradients,
        rotary._rotate,
    )
    normed, normed_back, gate, gate_back, rotate = (
        torch.compile(each, **settings) for each in plain
    )
    plain_forward = norm.RmsNorm.forward

    def forward(self: norm.RmsNorm, x: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return plain_forward(self, x)
        out: Tensor = normed(x, self.weight, self.eps)
        return out

    def input_gradient(self: norm.RmsNorm, g: Tensor, x: Tensor) -> Tensor:
        out: Tensor = normed_back(g, x, self.weight, self.eps)
        return out

    def product(
        u_TF: Tensor,
        up_TF: Tensor | None,
        kind: ActivationKind,
        down: Projection,
        *,
        needs_dx: bool = False,
    ) -> Tensor:
        return project(gate(u_TF, up_TF, kind), down, needs_dx=needs_dx)

    with (
        mock.patch.object(norm.RmsNorm, "forward", forward),
        mock.patch.object(norm.RmsNorm, "input_gradient", input_gradient),
        mock.patch.object(gated_mlp, "_product", product),
        mock.patch.object(gated_mlp, "_inner_gradients", gate_back),
        mock.patch.object(rotary, "_rotate", rotate),
    ):
        yield


def _normed(x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    wide = norm._wide(x)
    return norm._rms_scaled(x, wide, norm._rms_scale(wide, eps), weight_D)


def _normed_back(g: Tensor, x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    wide = norm._wide(x)
    scale = norm._rms_scale(wide, eps)
    return norm._rms_input_gradient(g, wide, weight_D, scale).to(x.dtype)


def _gate(u_TF: Tensor, up_TF: Tensor | None, kind: ActivationKind) -> Tensor:
    act_TF = gated_mlp.activate(u_TF, kind)
    return act_TF if up_TF is None else act_TF * up_TF
