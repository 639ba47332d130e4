"""LoRA layers against float64 autograd and against PEFT's own layer."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn

from vox_tensor.lora import (
    LoraLinear,
    Projection,
    adapters_off,
    project_shared,
    projection_of,
)
from vox_tensor.lora_spec import LoraSpec

Near = Callable[[torch.Tensor | None, torch.Tensor | None], None]


def adapted(spec: LoraSpec, *, bias: bool = True, seed: int = 0) -> LoraLinear:
    torch.manual_seed(seed)
    layer = LoraLinear(nn.Linear(12, 7, bias=bias), spec)
    nn.init.normal_(layer.b_OR, std=0.3)
    return layer


def base_of(layer: LoraLinear) -> nn.Linear:
    assert isinstance(layer.base, nn.Linear)
    return layer.base


def test_a_fresh_layer_returns_what_its_base_returns() -> None:
    torch.manual_seed(0)
    base = nn.Linear(12, 7)
    x = torch.randn(5, 12)
    expected = base(x)
    layer = LoraLinear(base, LoraSpec(rank=3))
    assert torch.equal(layer(x), expected)
    nn.init.normal_(layer.b_OR)
    assert not torch.equal(layer(x), expected)


def test_output_is_base_plus_scaled_low_rank_product(assert_near_f32: Near) -> None:
    layer = adapted(LoraSpec(rank=3, alpha=6.0))
    x = torch.randn(2, 4, 12)
    base = base_of(layer)
    dense = base.weight + 2.0 * layer.b_OR @ layer.a_RI
    assert_near_f32(layer(x), x @ dense.T + base.bias)


def test_rslora_scales_by_root_of_rank(assert_near_f32: Near) -> None:
    layer = adapted(LoraSpec(rank=4, alpha=6.0, use_rslora=True))
    expected = 3.0 * layer.b_OR.detach() @ layer.a_RI.detach()
    assert_near_f32(layer.delta_OI(), expected)


def test_lora_linear_merge_matches_base_plus_scaled_ba(assert_near_f32: Near) -> None:
    layer = adapted(LoraSpec(rank=2, alpha=4.0))
    x = torch.randn(9, 12)
    base = base_of(layer)
    before = base.weight.clone()
    merged = layer.merged()
    assert not torch.equal(merged.weight, before)
    assert torch.equal(base.weight, before), "merging must not touch the base"
    assert_near_f32(merged(x), layer(x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_merging_rounds_the_sum_and_never_the_update(dtype: torch.dtype) -> None:
    """Half a unit and a little: the sum rounds up, the update alone would lose the little."""
    half_unit = torch.finfo(dtype).eps / 2
    layer = LoraLinear(nn.Linear(5, 7, bias=False, dtype=dtype), LoraSpec(rank=2, alpha=2.0))
    with torch.no_grad():
        base_of(layer).weight.fill_(1.0)
        layer.a_RI.fill_(1.0)
        # Sums of two powers of two, so no processor rounds before we do.
        layer.b_OR.copy_(torch.tensor([half_unit, half_unit * 2**-12]))
    merged = layer.merged().weight
    assert merged.dtype == dtype
    assert torch.equal(merged, torch.full_like(merged, 1.0 + 2 * half_unit))
    rounded_first = base_of(layer).weight + layer.delta_OI().to(dtype)
    assert torch.equal(rounded_first, base_of(layer).weight)


def test_nothing_of_the_base_is_trained() -> None:
    layer = adapted(LoraSpec(rank=2))
    layer(torch.randn(3, 12)).sum().backward()
    base = base_of(layer)
    assert base.weight.grad is None
    assert base.bias is not None
    assert base.bias.grad is None
    assert layer.a_RI.grad is not None
    assert layer.a_RI.grad.abs().sum() > 0


def projections_f64(n: int, keep: torch.Tensor | None) -> list[Projection]:
    generator = torch.Generator().manual_seed(3)

    def rand(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    return [
        Projection(
            rand(5, 6),
            rand(5),
            rand(2, 6).requires_grad_(),
            rand(5, 2).requires_grad_(),
            1.5,
            keep,
        )
        for _ in range(n)
    ]


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("dropped", [False, True])
def test_gradients_pass_gradcheck_in_float64(n: int, dropped: bool) -> None:
    keep = (torch.arange(24, dtype=torch.float64).view(4, 6) % 3 > 0).double() * 1.5
    projections = projections_f64(n, keep if dropped else None)
    x = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    factors = [t for p in projections for t in (p.a, p.b) if t is not None]

    def run(x: torch.Tensor, *factors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        pairs = zip(factors[::2], factors[1::2], strict=True)
        replaced = [p._replace(a=a, b=b) for p, (a, b) in zip(projections, pairs, strict=True)]
        return project_shared(x, replaced)

    assert torch.autograd.gradcheck(run, (x, *factors))


def test_shared_projections_equal_separate_ones(assert_near_f32: Near) -> None:
    layers = [adapted(LoraSpec(rank=2), seed=s) for s in range(3)]
    x = torch.randn(4, 12, requires_grad=True)
    outputs = project_shared(x, [projection_of(layer, x) for layer in layers])
    torch.stack([o.square().sum() for o in outputs]).sum().backward()
    shared = x.grad
    assert shared is not None
    x2 = x.detach().clone().requires_grad_()
    torch.stack([layer(x2).square().sum() for layer in layers]).sum().backward()
    assert_near_f32(shared, x2.grad)


def test_backward_keeps_no_activation_but_the_input() -> None:
    layer = adapted(LoraSpec(rank=3))
    x = torch.randn(64, 12, requires_grad=True)
    saved: list[tuple[int, ...]] = []

    def note(t: torch.Tensor) -> torch.Tensor:
        saved.append(tuple(t.shape))
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        layer(x)
    assert [shape for shape in saved if 64 in shape] == [(64, 12)]


def test_dropout_acts_on_the_low_rank_branch_only_and_follows_its_stream() -> None:
    spec = LoraSpec(rank=3, dropout=0.5)
    x = torch.randn(40, 12)
    outputs = []
    for _ in range(2):
        layer = adapted(spec)
        layer.dropout_generator = torch.Generator().manual_seed(9)
        outputs.append(layer(x))
    assert torch.equal(*outputs)
    layer = adapted(spec)
    layer.dropout_generator = torch.Generator().manual_seed(10)
    assert not torch.equal(layer(x), outputs[0])
    nn.init.zeros_(layer.b_OR)
    assert torch.equal(layer(x), layer.base(x)), "the frozen branch is never dropped"
    layer.eval()
    assert torch.equal(layer(x), layer(x))


def test_dropout_keeps_the_expectation() -> None:
    layer = adapted(LoraSpec(rank=3, dropout=0.25))
    keep = layer.projection(torch.ones(20_000, 12)).keep
    assert keep is not None
    sigma = math.sqrt(0.25 / 0.75 / keep.numel())
    assert abs(keep.mean().item() - 1.0) < 6 * sigma


def test_matches_peft_on_the_same_weights(assert_near_f32: Near) -> None:
    peft = pytest.importorskip("peft")

    class Holder(nn.Module):
        def __init__(self, base: nn.Linear) -> None:
            super().__init__()
            self.proj = base

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.proj(x)
            return out

    ours = adapted(LoraSpec(rank=3, alpha=7.0))
    base = nn.Linear(12, 7)
    base.load_state_dict(ours.base.state_dict())
    config = peft.LoraConfig(r=3, lora_alpha=7.0, target_modules=["proj"], lora_dropout=0.0)
    theirs = peft.get_peft_model(Holder(base), config)
    layer = theirs.base_model.model.proj
    with torch.no_grad():
        layer.lora_A["default"].weight.copy_(ours.a_RI)
        layer.lora_B["default"].weight.copy_(ours.b_OR)
    x = torch.randn(6, 12)
    a, b = ours(x), theirs(x)
    assert not torch.equal(a, ours.base(x)), "the adapter must change something"
    assert_near_f32(a, b)
    a.square().sum().backward()
    b.square().sum().backward()
    assert_near_f32(ours.a_RI.grad, layer.lora_A["default"].weight.grad)
    assert_near_f32(ours.b_OR.grad, layer.lora_B["default"].weight.grad)


def test_a_bf16_base_keeps_f32_factors() -> None:
    torch.manual_seed(0)
    layer = LoraLinear(nn.Linear(12, 7).bfloat16(), LoraSpec(rank=3))
    nn.init.normal_(layer.b_OR)
    y = layer(torch.randn(5, 12, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert layer.a_RI.grad is not None
    assert layer.a_RI.dtype == layer.a_RI.grad.dtype == torch.float32


def test_projection_of_refuses_other_modules() -> None:
    with pytest.raises(TypeError, match="Embedding"):
        projection_of(nn.Embedding(2, 3), torch.zeros(1, 3))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_layer_that_is_off_is_its_base_and_comes_back(dropout: float) -> None:
    torch.manual_seed(0)
    base = torch.nn.Linear(6, 4)
    dropped = torch.Generator().manual_seed(1)
    layer = LoraLinear(base, LoraSpec(rank=2, dropout=dropout), None, dropped)
    with torch.no_grad():
        layer.b_OR.normal_()
    x = torch.randn(3, 6)
    layer.eval()
    adapted = layer(x)
    layer.train()
    before = dropped.get_state()
    with adapters_off([layer]):
        assert torch.equal(layer(x), base(x))
        with adapters_off([layer]):
            pass
        assert torch.equal(layer(x), base(x)), "an inner block switches nothing on"
    assert torch.equal(dropped.get_state(), before), "no mask was drawn"
    layer.eval()
    assert torch.equal(layer(x), adapted)
    assert not torch.allclose(adapted, base(x))


def test_a_failure_inside_switches_the_layers_on_again() -> None:
    layer = LoraLinear(torch.nn.Linear(6, 4), LoraSpec(rank=2))
    with pytest.raises(AttributeError), adapters_off([layer]):
        layer(None)
    assert layer.is_on
