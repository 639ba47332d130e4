"""The fused norm and projections over NF4 weights, against the dense weights in float64."""

from __future__ import annotations

import weakref

import pytest
import torch
from torch import Tensor, nn

from vox_populi.model.norm import LayerNorm, RmsNorm
from vox_populi.model.normed_projection import normed_project
from vox_tensor.lora import FrozenLinear, LoraLinear
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4 import Nf4Tensor, dequantize_nf4, quantize_nf4
from vox_tensor.nf4_weight import DenseCopies, DensePool, Nf4Weight


class Count:
    """A dequantiser that counts, and knows which of its fresh results are alive."""

    def __init__(self) -> None:
        self.calls = 0
        self._made: list[weakref.ref[Tensor]] = []

    def __call__(self, quantized: Nf4Tensor, dtype: torch.dtype, out: Tensor | None) -> Tensor:
        self.calls += 1
        dense = dequantize_nf4(quantized, dtype, out)
        if out is None:
            self._made.append(weakref.ref(dense))
        return dense

    @property
    def n_alive(self) -> int:
        return sum(ref() is not None for ref in self._made)


def layers(pool: DensePool) -> list[LoraLinear]:
    torch.manual_seed(2)
    made = []
    for n in (3, 4):
        weight = Nf4Weight(quantize_nf4(torch.randn(n, 6), block_size=32), pool)
        made.append(LoraLinear(FrozenLinear(weight), LoraSpec(rank=2)).double())
        nn.init.normal_(made[-1].b_OR)
    return made


@pytest.fixture(params=[RmsNorm, LayerNorm])
def norm(request: pytest.FixtureRequest) -> RmsNorm | LayerNorm:
    torch.manual_seed(1)
    made: RmsNorm | LayerNorm = request.param(6, 1e-3)
    for parameter in made.parameters():
        nn.init.normal_(parameter)
    made.requires_grad_(requires_grad=False)
    return made.double()


@pytest.mark.parametrize("copies", list(DenseCopies))
def test_norm_and_nf4_projections_in_one_pass_gradcheck(
    norm: RmsNorm | LayerNorm, copies: DenseCopies
) -> None:
    adapted = layers(DensePool(copies))
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    factors = [p for layer in adapted for p in (layer.a_RI, layer.b_OR)]

    def run(x: Tensor, *_factors: Tensor) -> tuple[Tensor, ...]:
        return normed_project(x, norm, adapted)

    for fused, layer in zip(run(x), adapted, strict=True):
        assert isinstance(layer.base.weight, Nf4Weight)
        dense = dequantize_nf4(layer.base.weight.quantized, torch.float64)
        update = layer.spec.scale * layer.b_OR @ layer.a_RI
        torch.testing.assert_close(fused, norm(x) @ (dense + update).T)
        assert not torch.allclose(fused, norm(x) @ dense.T)
    assert torch.autograd.gradcheck(run, (x, *factors))


@pytest.mark.parametrize("needs_dx", [False, True])
def test_copies_of_the_forward_pass_serve_the_backward_pass_and_go(
    norm: RmsNorm | LayerNorm, needs_dx: bool
) -> None:
    count = Count()
    adapted = layers(DensePool(DenseCopies.LAYER, count))
    for i in (1, 2):
        x = torch.randn(4, 6, dtype=torch.float64, requires_grad=needs_dx)
        outputs = normed_project(x, norm, adapted)
        assert count.n_alive == (2 if needs_dx else 0)
        torch.cat(outputs, dim=1).sum().backward()
        assert count.n_alive == 0
        assert count.calls == 2 * i
