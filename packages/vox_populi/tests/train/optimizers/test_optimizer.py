"""What all optimizers share: state by name, refusals, and that each name leads to one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vox_populi.contract.optimizer_choice import OPTIMIZERS, OptimizerKind
from vox_populi.contract.setting_groups import OptimizationSettings
from vox_populi.train.optimizers.optimizer import Optimizer, fits
from vox_populi.train.optimizers.registry import build_optimizer

KINDS = pytest.mark.parametrize("kind", OptimizerKind)


def asked(kind: OptimizerKind) -> OptimizationSettings:
    return OptimizationSettings(optimizer=kind, weight_decay=0.1)


def parameters() -> dict[str, nn.Parameter]:
    torch.manual_seed(0)
    return {"a": nn.Parameter(torch.randn(100, 50)), "b": nn.Parameter(torch.randn(5))}


def after_steps(kind: OptimizerKind, steps: int) -> tuple[Optimizer, dict[str, nn.Parameter]]:
    trained = parameters()
    optimizer = build_optimizer(asked(kind), trained)
    for step in range(steps):
        move(optimizer, trained, step)
    return optimizer, trained


def move(optimizer: Optimizer, trained: dict[str, nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for p in trained.values():
        p.grad = torch.randn(p.shape, generator=generator)
    optimizer.step(0.01)


@KINDS
def test_the_state_is_what_the_facts_say(kind: OptimizerKind) -> None:
    optimizer, trained = after_steps(kind, 1)
    shapes = {name: tuple(p.shape) for name, p in trained.items()}
    facts = OPTIMIZERS[kind]
    assert fits(facts, trained, optimizer.state)
    assert optimizer.state.keys() == facts.state_tensors(shapes).keys()
    n_bytes = sum(t.numel() * t.element_size() for t in optimizer.state.values())
    assert n_bytes == facts.state_bytes(shapes.values())
    for other in OptimizerKind:
        assert fits(OPTIMIZERS[other], trained, optimizer.state) == (other is kind)


@KINDS
def test_a_loaded_state_continues_as_if_nothing_had_happened(kind: OptimizerKind) -> None:
    optimizer, trained = after_steps(kind, 3)
    saved = {name: tensor.clone() for name, tensor in optimizer.state.items()}
    values = {name: p.detach().clone() for name, p in trained.items()}
    move(optimizer, trained, 3)
    resumed = {name: nn.Parameter(value) for name, value in values.items()}
    fresh = build_optimizer(asked(kind), resumed)
    fresh.load(3, saved)
    move(fresh, resumed, 3)
    for name, parameter in trained.items():
        assert torch.equal(parameter, resumed[name])
    forgetful = {name: nn.Parameter(p.detach().clone()) for name, p in values.items()}
    move(build_optimizer(asked(kind), forgetful), forgetful, 3)
    assert not all(torch.equal(p, forgetful[name]) for name, p in trained.items())


def spoilt(state: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    name, tensor = next(iter(state.items()))
    rest = {other: t for other, t in state.items() if other != name}
    return [
        rest,
        state | {"x.a": tensor},
        state | {name: tensor.double()},
        rest | {name: tensor[1:]},
    ]


@KINDS
@pytest.mark.parametrize("which", range(4))
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(
    kind: OptimizerKind, which: int
) -> None:
    optimizer, _ = after_steps(kind, 1)
    before = {name: tensor.clone() for name, tensor in optimizer.state.items()}
    with pytest.raises(ValueError, match="does not fit"):
        optimizer.load(7, spoilt({name: t + 1 for name, t in before.items()})[which])
    assert optimizer.steps == 1
    assert all(torch.equal(t, before[name]) for name, t in optimizer.state.items())


@KINDS
def test_a_missing_gradient_is_refused(kind: OptimizerKind) -> None:
    with pytest.raises(ValueError, match="needs a gradient"):
        build_optimizer(asked(kind), parameters()).step(0.1)
