"""What the engine may ask of a quantised model: training keeps copies, evaluation does not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.model.proxy_stack import ProxyStack
from vox_populi.train.evaluate import mean_loss
from vox_tensor.collate import collate_window
from vox_tensor.lora import FrozenLinear
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4 import Nf4Tensor, dequantize_nf4, quantize_nf4
from vox_tensor.nf4_weight import DenseCopies, DensePool, Nf4Weight
from vox_tensor.records import EncodedRow

VOCAB, WIDTH, N_MIDDLE = 12, 8, 2
ROWS = [EncodedRow((3, 1, 4, 1, 5), (-100, -100, 4, 1, 5), 1)]


class Counting:
    """`dequantize_nf4` that notes whether a copy was made to be kept."""

    def __init__(self) -> None:
        self.kept: list[bool] = []

    def __call__(
        self, quantized: Nf4Tensor, dtype: torch.dtype = torch.float32, out: Tensor | None = None
    ) -> Tensor:
        self.kept.append(out is None)
        return dequantize_nf4(quantized, dtype, out)


def build(copies: DenseCopies) -> tuple[AdaptedObjective[ProxyStack], Counting]:
    counting = Counting()
    pool = DensePool(copies, counting)
    generator = torch.Generator().manual_seed(0)

    def frozen(*shape: int) -> FrozenLinear:
        weight = torch.randn(shape, generator=generator)
        return FrozenLinear(Nf4Weight(quantize_nf4(weight), pool))

    middle = {f"blocks.{i}.attn.o": frozen(WIDTH, WIDTH) for i in range(N_MIDDLE)}
    embed_VD = torch.randn(VOCAB, WIDTH, generator=generator)
    stack = ProxyStack(embed_VD, middle, frozen(VOCAB, WIDTH))
    adapted = stack.attach_adapters(LoraSpec(rank=2), generator)
    return AdaptedObjective(stack, adapted, pool), counting


def test_evaluation_keeps_no_copy_that_a_backward_pass_would_have_to_free() -> None:
    objective, counting = build(DenseCopies.LAYER)
    objective.set_training(active=False)
    with torch.no_grad():
        before = objective.loss_sum(collate_window(ROWS))
    assert counting.kept == [False] * (N_MIDDLE + 1)

    objective.set_training(active=True)
    counting.kept.clear()
    loss = objective.loss_sum(collate_window(ROWS))
    loss.backward()
    # Nothing below the first layer learns, so its copy is needed once.
    assert counting.kept == [False] + [True] * N_MIDDLE
    assert torch.equal(loss, before)


@pytest.mark.parametrize("copies", list(DenseCopies))
def test_measuring_between_two_steps_changes_nothing(copies: DenseCopies) -> None:
    objective, _ = build(copies)
    objective.set_training(active=True)
    first = objective.loss_sum(collate_window(ROWS))
    measured = mean_loss(objective, ROWS, 8)
    second = objective.loss_sum(collate_window(ROWS))
    assert torch.equal(first, second)
    assert measured * ROWS[0].n_supervised == pytest.approx(first.item())
    assert all(p.requires_grad for p in objective.parameters().values())
    frozen = set(objective.model.parameters()) - set(objective.parameters().values())
    assert frozen
    assert not any(p.requires_grad for p in frozen)


def test_a_snapshot_put_back_restores_the_loss() -> None:
    objective, _ = build(DenseCopies.NONE)
    objective.set_training(active=False)
    kept = objective.snapshot()
    before = objective.loss_sum(collate_window(ROWS)).item()
    changed = {name: tensor + 1 for name, tensor in kept.items()}
    objective.restore(changed)
    assert objective.loss_sum(collate_window(ROWS)).item() != before
    objective.restore(kept)
    assert objective.loss_sum(collate_window(ROWS)).item() == before


@pytest.mark.parametrize("copies", list(DenseCopies))
def test_a_model_without_its_adapters_is_the_one_they_were_attached_to(
    copies: DenseCopies,
) -> None:
    objective, _ = build(copies)
    objective.set_training(active=False)
    fresh = mean_loss(objective, ROWS, 8)
    trained = {name: tensor + 1 for name, tensor in objective.snapshot().items()}
    objective.restore(trained)
    with objective.adapters_off():
        assert mean_loss(objective, ROWS, 8) == fresh
    assert mean_loss(objective, ROWS, 8) != fresh


def test_the_normaliser_weighs_supervised_tokens() -> None:
    objective, _ = build(DenseCopies.NONE)
    rows = [*ROWS, replace(ROWS[0], weight=0.5)]
    assert objective.normaliser(ROWS) == ROWS[0].n_supervised == 3
    assert objective.normaliser(rows) == 4.5
    (both,) = objective.loss_sums(rows, 10)
    one, other = objective.loss_sums(rows, 5)
    assert (
        both.item() == pytest.approx(one.item() * 1.5) == pytest.approx(one.item() + other.item())
    )
    assert mean_loss(objective, rows, 10) == pytest.approx(one.item() / 3), "not in evaluations"
