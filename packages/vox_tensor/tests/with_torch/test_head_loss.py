"""The chunked head against torch's own cross entropy and float64 autograd."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from vox_tensor import head_loss as module
from vox_tensor.head_loss import linear_cross_entropy
from vox_tensor.lora import Projection
from vox_tensor.wide_sum import TwoFloatSum, WideSum, wide_sum

Near = Callable[[torch.Tensor | None, torch.Tensor | None], None]


def problem(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    h = torch.randn(7, 5, dtype=dtype, generator=generator)
    weight = torch.randn(11, 5, dtype=dtype, generator=generator)
    return h, weight, torch.randint(0, 11, (7,), generator=generator)


@pytest.mark.parametrize("chunk_rows", [1, 3, 7, 100])
def test_loss_and_gradient_match_torch(chunk_rows: int, assert_near_f32: Near) -> None:
    h, weight, targets = problem(torch.float32)
    ours, theirs = (h.clone().requires_grad_() for _ in range(2))
    loss = linear_cross_entropy(ours, Projection(weight, None), targets, chunk_rows)
    expected = F.cross_entropy(theirs @ weight.T, targets, reduction="sum")
    assert_near_f32(loss, expected)
    (loss * 0.5).backward()
    (expected * 0.5).backward()
    assert ours.grad is not None
    assert ours.grad.abs().sum() > 0
    assert_near_f32(ours.grad, theirs.grad)


@pytest.mark.parametrize("chunk_rows", [3, 100])
def test_a_soft_cap_of_the_logits_is_part_of_loss_and_gradient(
    chunk_rows: int, assert_near_f32: Near
) -> None:
    h, weight, targets = problem(torch.float32)
    cap, weights = 1.5, torch.linspace(0.5, 2, 7)
    ours, theirs = (h.clone().requires_grad_() for _ in range(2))
    loss = linear_cross_entropy(ours, Projection(weight, None), targets, chunk_rows, weights, cap)
    logits = cap * torch.tanh(theirs @ weight.T / cap)
    expected = (F.cross_entropy(logits, targets, reduction="none") * weights).sum()
    assert_near_f32(loss, expected)
    loss.backward()
    expected.backward()
    assert ours.grad is not None
    assert_near_f32(ours.grad, theirs.grad)
    uncapped = linear_cross_entropy(h, Projection(weight, None), targets, chunk_rows, weights)
    assert not torch.allclose(uncapped, loss), "the cap must matter"


def test_without_float64_loss_and_gradient_are_the_same(
    monkeypatch: pytest.MonkeyPatch, assert_near_f32: Near
) -> None:
    h, weight, targets = problem(torch.float32)
    results, asked = [], []

    def as_if_without(device: torch.device) -> WideSum:
        asked.append(device.type)
        return TwoFloatSum(device)

    for way in (wide_sum, as_if_without):
        monkeypatch.setattr(module, "wide_sum", way)
        leaf = h.clone().requires_grad_()
        loss = linear_cross_entropy(leaf, Projection(weight, None), targets, 3)
        loss.backward()
        results.append((loss, leaf.grad))
    (with_f64, grad), (without, same_grad) = results
    assert asked == ["cpu"]
    assert without.dtype == torch.float32
    assert_near_f32(without, with_f64)
    assert grad is not None
    assert same_grad is not None
    assert torch.equal(same_grad, grad)
    assert bool(grad.abs().sum() > 0)


def test_gradcheck_with_an_adapted_head() -> None:
    h, weight, targets = problem(torch.float64)
    generator = torch.Generator().manual_seed(2)
    a = torch.randn(2, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    b = torch.randn(11, 2, dtype=torch.float64, generator=generator, requires_grad=True)

    def run(h: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return linear_cross_entropy(h, Projection(weight, None, a, b, 0.5), targets, 3)

    assert torch.autograd.gradcheck(run, (h.requires_grad_(), a, b))


def test_gradcheck_with_a_trainable_head() -> None:
    h, weight, targets = problem(torch.float64)

    def run(h: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return linear_cross_entropy(h, Projection(weight, None), targets, 3)

    assert torch.autograd.gradcheck(run, (h.requires_grad_(), weight.requires_grad_()))


def test_a_very_unlikely_target_has_a_finite_loss() -> None:
    h = torch.tensor([[200.0, 0.0]], requires_grad=True)
    weight = torch.eye(2)
    loss = linear_cross_entropy(h, Projection(weight, None), torch.tensor([1]))
    assert loss.item() == 200.0
    loss.backward()
    assert h.grad is not None
    assert torch.isfinite(h.grad).all()


def test_no_gradient_buffers_are_made_without_grad(assert_near_f32: Near) -> None:
    h, weight, targets = problem(torch.float32)
    with torch.no_grad():
        loss = linear_cross_entropy(h, Projection(weight, None), targets)
    assert not loss.requires_grad
    assert_near_f32(loss, F.cross_entropy(h @ weight.T, targets, reduction="sum"))


def test_mismatched_targets_are_refused() -> None:
    h, weight, targets = problem(torch.float32)
    with pytest.raises(ValueError, match="7 hidden states but 6 targets"):
        linear_cross_entropy(h, Projection(weight, None), targets[:6])


WEIGHTS = (0.5, 3.0, 1.0, 0.001, 2.0, 1000.0, 1.0)


@pytest.mark.parametrize("chunk_rows", [1, 3, 100])
def test_weighted_loss_and_gradient_are_those_of_float64(
    chunk_rows: int, assert_near_f32: Near
) -> None:
    h, weight, targets = problem(torch.float32)
    leaf, wide = h.clone().requires_grad_(), h.double().requires_grad_()
    head, weights = Projection(weight, None), torch.tensor(WEIGHTS)
    loss = linear_cross_entropy(leaf, head, targets, chunk_rows, weights)
    each = F.cross_entropy(wide @ weight.double().T, targets, reduction="none")
    expected = (each * torch.tensor(WEIGHTS, dtype=torch.float64)).sum()
    loss.backward()
    expected.backward()
    assert_near_f32(loss, expected.float())
    assert wide.grad is not None
    assert_near_f32(leaf.grad, wide.grad.float())
    assert not torch.allclose(loss, linear_cross_entropy(h, head, targets, chunk_rows))


def test_gradcheck_with_weights_and_an_adapted_head() -> None:
    h, weight, targets = problem(torch.float64)
    generator = torch.Generator().manual_seed(2)
    a = torch.randn(2, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    b = torch.randn(11, 2, dtype=torch.float64, generator=generator, requires_grad=True)
    weights = torch.tensor([0.5, 3.0, 1.0, 0.25, 2.0, 8.0, 1.0])

    def run(h: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return linear_cross_entropy(h, Projection(weight, None, a, b, 0.5), targets, 3, weights)

    assert torch.autograd.gradcheck(run, (h.requires_grad_(), a, b))


def test_weights_of_one_change_no_bit() -> None:
    h, weight, targets = problem(torch.float32)
    found = []
    for weights in (None, torch.ones(7)):
        leaf = h.clone().requires_grad_()
        loss = linear_cross_entropy(leaf, Projection(weight, None), targets, 3, weights)
        loss.backward()
        assert leaf.grad is not None
        found.append((loss, leaf.grad))
    (loss, grad), (same_loss, same_grad) = found
    assert torch.equal(loss, same_loss)
    assert torch.equal(grad, same_grad)
    assert bool(grad.abs().sum() > 0)


def test_mismatched_weights_are_refused() -> None:
    h, weight, targets = problem(torch.float32)
    with pytest.raises(ValueError, match="7 hidden states but 6 weights"):
        linear_cross_entropy(h, Projection(weight, None), targets, weights_P=torch.ones(6))
