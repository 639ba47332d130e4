"""Norms against torch's own, and their fused use against float64 autograd."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vox_populi.model.norm import LayerNorm, Norm, RmsNorm
from vox_populi.model.normed_projection import normed_project
from vox_populi.model.wide_norm import WideRmsNorm
from vox_tensor.lora import LoraLinear
from vox_tensor.lora_spec import LoraSpec

EPS = 1e-3


def draw(norm: Norm) -> Norm:
    torch.manual_seed(1)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    return norm.double()


@pytest.fixture(params=[RmsNorm, WideRmsNorm, LayerNorm])
def norm(request: pytest.FixtureRequest) -> Norm:
    return draw(request.param(6, EPS))


def test_values_are_those_of_torch(norm: Norm) -> None:
    x = torch.randn(5, 6, dtype=torch.float64)
    if isinstance(norm, LayerNorm):
        expected = nn.functional.layer_norm(x, (6,), norm.weight, norm.bias, EPS)
    else:
        expected = nn.functional.rms_norm(x, (6,), norm.weight, EPS)
    torch.testing.assert_close(norm(x), expected)
    assert not torch.allclose(expected, x)


def test_a_wide_norm_is_rounded_once() -> None:
    """As transformers' OLMo and Gemma compute it; Llama rounds before the weight too."""
    wide, narrow = WideRmsNorm(6, EPS), RmsNorm(6, EPS)
    torch.manual_seed(1)
    nn.init.normal_(wide.weight)
    narrow.load_state_dict(wide.state_dict())
    x = torch.randn(50, 6).bfloat16()
    expected = nn.functional.rms_norm(x.float(), (6,), wide.weight, EPS).bfloat16()
    with torch.no_grad():
        assert torch.equal(wide(x), expected)
        assert not torch.equal(narrow.bfloat16()(x), expected)
    assert torch.equal(wide(x), expected)


def test_gradients_of_input_and_weight_pass_gradcheck(norm: Norm) -> None:
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)

    def run(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = torch.func.functional_call(norm, {"weight": weight}, (x,))
        return out

    assert torch.autograd.gradcheck(run, (x, norm.weight))


def layers() -> list[LoraLinear]:
    torch.manual_seed(2)
    made = [LoraLinear(nn.Linear(6, n), LoraSpec(rank=2)).double() for n in (3, 4)]
    for layer in made:
        nn.init.normal_(layer.b_OR)
    return made


def test_norm_and_projections_in_one_pass_gradcheck(norm: Norm) -> None:
    norm.requires_grad_(requires_grad=False)
    adapted = layers()
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    factors = [p for layer in adapted for p in (layer.a_RI, layer.b_OR)]

    def run(x: torch.Tensor, *_factors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return normed_project(x, norm, adapted)

    for fused, layer in zip(run(x), adapted, strict=True):
        torch.testing.assert_close(fused, layer(norm(x)))
    assert torch.autograd.gradcheck(run, (x, *factors))


def test_a_trainable_norm_is_trained_through_plain_autograd(norm: Norm) -> None:
    (out, _) = normed_project(torch.randn(4, 6, dtype=torch.float64), norm, layers())
    out.sum().backward()
    assert norm.weight.grad is not None
    assert norm.weight.grad.abs().sum() > 0


def test_only_the_input_is_kept(norm: Norm) -> None:
    norm.requires_grad_(requires_grad=False)
    saved: list[tuple[int, ...]] = []

    def note(t: torch.Tensor) -> torch.Tensor:
        saved.append(tuple(t.shape))
        return t

    x = torch.randn(64, 6, dtype=torch.float64, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        normed_project(x, norm, layers())
    assert [shape for shape in saved if 64 in shape] == [(64, 6)]
