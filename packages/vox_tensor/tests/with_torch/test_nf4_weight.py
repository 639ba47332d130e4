"""Products with an NF4 weight: the dense ones' numbers, and dense copies that live as promised."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vox_tensor.gated_mlp import ActivationKind, activated_down
from vox_tensor.head_loss import linear_cross_entropy
from vox_tensor.lora import FrozenLinear, LoraLinear, Projection, project_shared, projection_of
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4 import Nf4Tensor, dequantize_nf4, quantize_nf4
from vox_tensor.nf4_weight import DenseCopies, DensePool, Nf4Weight

Near = Callable[[Tensor | None, Tensor | None], None]
COPIES = list(DenseCopies)


class Watch:
    """A dequantiser that remembers what it made, without keeping it alive."""

    def __init__(self) -> None:
        self.made: list[weakref.ref[Tensor]] = []
        self.memory: list[int] = []

    def __call__(self, quantized: Nf4Tensor, dtype: torch.dtype, out: Tensor | None) -> Tensor:
        dense = dequantize_nf4(quantized, dtype, out)
        if out is None:
            self.made.append(weakref.ref(dense))
        self.memory.append(dense.data_ptr())
        return dense

    @property
    def n_calls(self) -> int:
        return len(self.memory)

    @property
    def n_alive(self) -> int:
        gc.collect()
        return sum(ref() is not None for ref in self.made)


def rand(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def nf4(out: int, inner: int, pool: DensePool | None = None, seed: int = 0) -> Nf4Weight:
    quantized = quantize_nf4(rand(out, inner, seed=seed), block_size=32)
    return Nf4Weight(quantized, pool or DensePool())


def dense_of(weight: Nf4Weight, dtype: torch.dtype = torch.float32) -> Tensor:
    return dequantize_nf4(weight.quantized, dtype)


def three_layers(pool: DensePool, *, first_learns: bool = True) -> nn.Sequential:
    """A small network of adapted NF4 layers; nothing trains below the first."""
    torch.manual_seed(0)
    sizes = ((10, 12), (9, 10), (6, 9))
    layers: list[nn.Module] = []
    for i, size in enumerate(sizes):
        base = FrozenLinear(nf4(*size, pool, seed=i), rand(size[0], seed=10 + i))
        if i == 0 and not first_learns:
            layers.append(base)
            continue
        layer = LoraLinear(base, LoraSpec(rank=2, alpha=4.0))
        nn.init.normal_(layer.b_OR, std=0.3)
        layers.append(layer)
    return nn.Sequential(*layers)


def step(network: nn.Module, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The losses and gradients of some micro-batches."""
    losses = []
    for x in inputs:
        loss = network(x).square().sum()
        loss.backward()
        losses.append(loss.detach())
    grads = [p.grad for p in network.parameters() if p.requires_grad]
    assert all(grad is not None for grad in grads)
    return losses + [grad.clone() for grad in grads if grad is not None]


# --- policies -----------------------------------------------------------------------------


def test_all_policies_give_the_same_numbers() -> None:
    inputs = [rand(5, 12, seed=1), rand(7, 12, seed=2)]
    results = {copies: step(three_layers(DensePool(copies)), inputs) for copies in COPIES}
    for result in results.values():
        for one, other in zip(result, results[DenseCopies.NONE], strict=True):
            assert torch.equal(one, other)
            assert bool((one != 0).any())


@pytest.mark.parametrize(
    ("copies", "per_micro_batch", "at_once"),
    # The lowest layer has no gradient to hand down: one product less, and no copy kept for it.
    [(DenseCopies.NONE, 5, 0), (DenseCopies.LAYER, 3, 0), (DenseCopies.STEP, 0, 3)],
)
def test_how_often_a_weight_is_made_dense(
    copies: DenseCopies, per_micro_batch: int, at_once: int
) -> None:
    watch = Watch()
    network = three_layers(DensePool(copies, watch))
    step(network, [rand(5, 12)] * 3)
    assert watch.n_calls == at_once + 3 * per_micro_batch
    step(network, [rand(5, 12)])
    assert watch.n_calls == at_once + 4 * per_micro_batch


def test_layer_keeps_a_copy_from_the_forward_to_the_backward_product() -> None:
    watch = Watch()
    network = three_layers(DensePool(DenseCopies.LAYER, watch))
    loss = network(rand(5, 12)).sum()
    assert watch.n_alive == 2, "the lowest layer's input gets no gradient"
    loss.backward()
    assert watch.n_alive == 0


def test_step_keeps_all_copies() -> None:
    watch = Watch()
    network = three_layers(DensePool(DenseCopies.STEP, watch))
    step(network, [rand(5, 12)])
    assert watch.n_alive == 3


def test_the_buffer_of_all_layers_can_be_dropped_between_products() -> None:
    pool, x = DensePool(), rand(5, 12)
    weight = nf4(8, 12, pool)
    expected = weight.linear(x, None)
    base = pool.scratch(weight.quantized, torch.float32)._base
    assert base is not None
    buffer = weakref.ref(base)
    del base
    assert buffer() is not None
    pool.drop_scratch()
    gc.collect()
    assert buffer() is None
    assert torch.equal(weight.linear(x, None), expected)


@pytest.mark.parametrize("grad_mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("copies", [DenseCopies.NONE, DenseCopies.LAYER])
def test_nothing_is_kept_where_no_gradient_is_recorded(
    copies: DenseCopies, grad_mode: Callable[[], torch.no_grad]
) -> None:
    watch = Watch()
    network = three_layers(DensePool(copies, watch))
    with grad_mode():
        network(rand(5, 12))
    assert watch.n_calls == 3
    assert watch.n_alive == 0


def test_nothing_is_kept_below_the_lowest_adapter() -> None:
    watch = Watch()
    network = three_layers(DensePool(DenseCopies.LAYER, watch), first_learns=False)
    loss = network(rand(5, 12)).sum()
    # The first layer has no backward pass that could free a copy, the second hands none down.
    assert watch.n_alive == 1
    loss.backward()
    assert watch.n_alive == 0


def test_nothing_is_kept_where_no_backward_pass_is_expected() -> None:
    watch = Watch()
    pool = DensePool(DenseCopies.LAYER, watch)
    network = three_layers(pool)
    pool.expects_backward = False
    loss = network(rand(5, 12)).sum()
    assert watch.n_alive == 0
    loss.backward()
    assert watch.n_calls == 5, "a gradient asked for all the same is right, and slower"


def test_without_copies_all_layers_share_one_buffer() -> None:
    watch = Watch()
    network = three_layers(DensePool(DenseCopies.NONE, watch))
    step(network, [rand(5, 12)])
    # The first is the largest; a smaller first one is replaced once.
    assert watch.n_calls == 5
    assert len(set(watch.memory)) == 1


@pytest.mark.parametrize("copies", COPIES)
def test_training_continues_after_an_answer_was_sampled(copies: DenseCopies) -> None:
    fresh, used = (three_layers(DensePool(copies)) for _ in range(2))
    with torch.inference_mode():
        used(rand(2, 12))
    for one, other in zip(step(used, [rand(5, 12)]), step(fresh, [rand(5, 12)]), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("copies", COPIES)
def test_a_weight_serves_two_dtypes(copies: DenseCopies) -> None:
    weight = nf4(6, 8, DensePool(copies))
    x = rand(4, 8)
    for dtype in (torch.float32, torch.bfloat16, torch.float32):
        expected = F.linear(x.to(dtype), dense_of(weight, dtype))
        assert torch.equal(weight.linear(x.to(dtype), None), expected)


# --- numbers ------------------------------------------------------------------------------


def test_shape_and_device_are_the_dense_ones() -> None:
    layer = FrozenLinear(nf4(6, 8), rand(6))
    assert layer.weight.shape == (6, 8)
    assert (layer.out_features, layer.in_features) == (6, 8)
    assert layer.weight.device == torch.device("cpu")
    assert not layer.weight.requires_grad
    assert not any(p.requires_grad for p in layer.parameters())


def test_the_input_gradient_is_that_of_the_dense_weight_in_float64(assert_near_f32: Near) -> None:
    weight = nf4(33, 17)
    g, before = rand(5, 33, seed=1), rand(5, 17, seed=2)
    exact = g.double() @ dense_of(weight, torch.float64)
    assert_near_f32(weight.input_gradient(g, None), exact.float())
    buffer = before.clone()
    assert weight.input_gradient(g, buffer) is buffer
    assert_near_f32(buffer, (before.double() + exact).float())
    assert not torch.equal(buffer, before)


def twins(spec: LoraSpec) -> tuple[LoraLinear, LoraLinear]:
    """The same adapted layer over NF4 and over a dense copy of the same weights."""
    weight, bias = nf4(7, 12), rand(7, seed=4)
    plain = nn.Linear(12, 7)
    plain.load_state_dict({"weight": dense_of(weight), "bias": bias})
    torch.manual_seed(1)
    quantized = LoraLinear(FrozenLinear(weight, bias), spec)
    nn.init.normal_(quantized.b_OR, std=0.3)
    dense = LoraLinear(plain, spec)
    with torch.no_grad():
        dense.a_RI.copy_(quantized.a_RI)
        dense.b_OR.copy_(quantized.b_OR)
    for layer in (quantized, dense):
        layer.dropout_generator = torch.Generator().manual_seed(5)
    return quantized, dense


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_an_adapted_nf4_layer_equals_one_over_the_dense_weight(
    dropout: float, assert_near_f32: Near
) -> None:
    quantized, dense = twins(LoraSpec(rank=3, alpha=6.0, dropout=dropout))
    xs = [rand(2, 5, 12, seed=3).requires_grad_() for _ in range(2)]
    ys = [layer(x) for layer, x in zip((quantized, dense), xs, strict=True)]
    assert_near_f32(*ys)
    assert not torch.equal(ys[0], quantized.base(xs[0]))
    for y in ys:
        y.square().sum().backward()
    assert_near_f32(xs[0].grad, xs[1].grad)
    assert_near_f32(quantized.a_RI.grad, dense.a_RI.grad)
    assert_near_f32(quantized.b_OR.grad, dense.b_OR.grad)


def factors(out: int, inner: int) -> tuple[Tensor, Tensor]:
    a = rand(2, inner, seed=5, dtype=torch.float64).requires_grad_()
    return a, rand(out, 2, seed=6, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("copies", COPIES)
@pytest.mark.parametrize("dropped", [False, True])
def test_gradcheck_of_projections_that_share_an_input(copies: DenseCopies, dropped: bool) -> None:
    pool = DensePool(copies)
    one, two = nf4(5, 6, pool, seed=1), nf4(4, 6, pool, seed=2)
    keep = (torch.arange(24).view(4, 6) % 3 > 0).double() * 1.5 if dropped else None

    def run(x: Tensor, *ab: Tensor) -> tuple[Tensor, ...]:
        first = Projection(one, None, ab[0], ab[1], 1.5, keep)
        return project_shared(x, (first, Projection(two, None, ab[2], ab[3], 0.5)))

    x = rand(4, 6, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(run, (x, *factors(5, 6), *factors(4, 6)))


@pytest.mark.parametrize("copies", COPIES)
@pytest.mark.parametrize("gated", [False, True])
def test_gradcheck_of_the_fused_activation_and_down_projection(
    copies: DenseCopies, gated: bool
) -> None:
    down = nf4(3, 6, DensePool(copies))

    def run(u: Tensor, a: Tensor, b: Tensor, *up: Tensor) -> Tensor:
        projection = Projection(down, None, a, b, 0.7)
        return activated_down(u, up[0] if up else None, ActivationKind.SILU, projection)

    u, up = (rand(4, 6, seed=s, dtype=torch.float64).requires_grad_() for s in (2, 3))
    assert torch.autograd.gradcheck(run, (u, *factors(3, 6), *((up,) if gated else ())))


def test_the_fused_down_projection_frees_its_copy() -> None:
    watch = Watch()
    down = nf4(3, 6, DensePool(DenseCopies.LAYER, watch))
    u = rand(4, 6).requires_grad_()
    y = activated_down(u, None, ActivationKind.GELU, Projection(down, None))
    assert watch.n_alive == 1
    y.sum().backward()
    assert watch.n_alive == 0
    assert watch.n_calls == 1


@pytest.mark.parametrize("copies", COPIES)
@pytest.mark.parametrize("is_adapted", [False, True])
def test_cross_entropy_of_an_nf4_head(
    copies: DenseCopies, is_adapted: bool, assert_near_f32: Near
) -> None:
    watch = Watch()
    head = FrozenLinear(nf4(11, 5, DensePool(copies, watch)))
    layer: nn.Module = LoraLinear(head, LoraSpec(rank=2)) if is_adapted else head
    if isinstance(layer, LoraLinear):
        nn.init.normal_(layer.b_OR, std=0.3)
    targets = torch.arange(7)
    ours, theirs = (rand(7, 5, seed=1).requires_grad_() for _ in range(2))
    loss = linear_cross_entropy(ours, projection_of(layer, ours), targets, chunk_rows=3)
    dense = dense_of(nf4(11, 5))
    if isinstance(layer, LoraLinear):
        assert bool(layer.delta_OI().any())
        dense += layer.delta_OI()
    expected = F.cross_entropy(theirs @ dense.T, targets, reduction="sum")
    assert_near_f32(loss, expected)
    loss.backward()
    expected.backward()
    assert_near_f32(ours.grad, theirs.grad)
    assert watch.n_alive == (1 if copies is DenseCopies.STEP else 0)
    with torch.no_grad():
        again = linear_cross_entropy(ours, projection_of(layer, ours), targets)
    assert_near_f32(again, expected.detach())
    assert watch.n_alive == (1 if copies is DenseCopies.STEP else 0)


def test_an_update_cannot_be_folded_into_nf4() -> None:
    quantized, dense = twins(LoraSpec(rank=3))
    assert isinstance(dense.base, nn.Linear)
    assert not torch.equal(dense.merged().weight, dense.base.weight)
    with pytest.raises(TypeError, match="plain linear layer"):
        quantized.merged()
