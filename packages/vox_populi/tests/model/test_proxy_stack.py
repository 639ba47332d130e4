"""The proxy's graph: its shape, what it learns from, and what accumulation may not change."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vox_populi.adapters.header import AdaptedModule
from vox_populi.adapters.v3.names import logical_names
from vox_populi.contract.choices import GraphId
from vox_populi.contract.setting_groups import OptimizationSettings
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.model.proxy_stack import NORM_EPS, ProxyStack
from vox_populi.train.engine import Engine, Rows
from vox_populi.train.optimizers.registry import build_optimizer
from vox_populi.train.outcome import EngineSettings
from vox_tensor.collate import collate_window
from vox_tensor.lora import FrozenLinear
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4 import dequantize_nf4, quantize_nf4
from vox_tensor.nf4_weight import DensePool, Nf4Weight
from vox_tensor.records import IGNORE_INDEX, EncodedRow
from vox_tensor.schedule import LearningRateSchedule, ScheduleKind

VOCAB, WIDTH = 12, 5
# Two steps of AdamW on f32 gradients summed in another order.
OTHER_ORDER = 1e-5


def frozen(weight: Tensor) -> FrozenLinear:
    return FrozenLinear(Nf4Weight(quantize_nf4(weight, block_size=64), DensePool()))


def stack(n_middle: int = 2, vocab: int = VOCAB, width: int = WIDTH) -> ProxyStack:
    generator = torch.Generator().manual_seed(2)
    embed_VD = torch.randn(vocab, width, generator=generator)
    middle = {
        f"blocks.{i}.attn.o": frozen(torch.randn(width, width, generator=generator))
        for i in range(n_middle)
    }
    return ProxyStack(embed_VD, middle, frozen(embed_VD))


def objective(n_middle: int = 2) -> AdaptedObjective[ProxyStack]:
    model = stack(n_middle)
    spec = LoraSpec(rank=2, alpha=4.0)
    return AdaptedObjective(model, model.attach_adapters(spec, torch.Generator().manual_seed(3)))


def draw_rows(count: int = 8) -> list[EncodedRow]:
    generator = torch.Generator().manual_seed(4)
    rows = []
    for line in range(1, count + 1):
        ids = tuple(torch.randint(0, VOCAB, (3 + line,), generator=generator).tolist())
        rows.append(EncodedRow(ids, (IGNORE_INDEX,) * 2 + ids[2:], line))
    return rows


def trained(rows_at_once: int, steps: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The adapter before and after so many steps of all rows, packed so many to a window."""
    learner, rows = objective(), draw_rows()
    before = learner.snapshot()
    settings = EngineSettings(
        rows_per_step=len(rows),
        window_tokens=rows_at_once * max(map(len, rows)),
        steps_per_epoch=1,
        total_steps=steps,
        schedule=LearningRateSchedule(
            kind=ScheduleKind.CONSTANT, peak=0.02, warmup_steps=0, total_steps=steps
        ),
        seed=1,
    )
    optimizer = build_optimizer(OptimizationSettings(), learner.parameters())
    Engine(learner, optimizer, Rows(rows, ()), settings, _NoSink()).run()
    return before, learner.snapshot()


class _NoSink:
    def emit(self, event: object) -> None:
        """Forget it."""


@pytest.mark.requirement("last_hidden_shape_is_d_model")
def test_last_hidden_shape_is_d_model() -> None:
    model = stack(n_middle=0)
    (last,) = model.hidden(torch.tensor([7]))
    assert tuple(last.shape) == (WIDTH,)
    assert torch.equal(last, model.embed.weight[7]), "without middle layers it is the row itself"


def test_hidden_before_predicted_token_matches_last_hidden_for_final_index() -> None:
    model, ids = stack(), torch.tensor([3, 9, 1, 4])
    # One row and four may be summed in another order: the same numbers, not the same bits.
    torch.testing.assert_close(model.hidden(ids)[-1], model.hidden(ids[-1:])[0])
    assert float((model.hidden(ids)[-1] - model.hidden(ids)[0]).abs().max()) > 0.1


@pytest.mark.parametrize("n_middle", [0, 1, 2, 3])
def test_the_stack_is_its_formula_with_the_root_of_the_number_of_layers(n_middle: int) -> None:
    model, ids = stack(n_middle), torch.tensor([3, 9, 1, 4])
    h = model.embed.weight.double()[ids]
    for layer in model.middle:
        assert isinstance(layer, FrozenLinear)
        assert isinstance(layer.weight, Nf4Weight)
        dense = dequantize_nf4(layer.weight.quantized).double()
        normed = h / (h.square().mean(-1, keepdim=True) + NORM_EPS).sqrt()
        h = h + normed @ dense.T / n_middle**0.5
    expected = h / max(n_middle, 1) ** 0.5
    torch.testing.assert_close(model.hidden(ids), expected.float())
    learner = model.attach_adapters(LoraSpec(rank=2))
    assert len(learner) == n_middle + 1
    torch.testing.assert_close(model.hidden(ids), expected.float())


def test_logits_rank3_contract() -> None:
    assert tuple(stack().logits(torch.tensor([3, 9, 1])).shape) == (3, VOCAB)


def test_layers_of_the_proxy_stack_have_logical_names() -> None:
    adapted = objective(n_middle=2).adapted
    modules = [
        AdaptedModule(
            ours=name,
            base_key=name,
            roles=("o",),
            in_features=layer.base.in_features,
            out_features=layer.base.out_features,
            fan_in_fan_out=False,
        )
        for name, layer in adapted.items()
    ]
    names = logical_names(GraphId.PROXY_STACK, modules)
    assert tuple(names.values()) == ("mid0", "mid1", "lm_head")


def test_a_fresh_adapter_changes_nothing_and_a_trained_one_does() -> None:
    ids = torch.tensor([3, 9, 1])
    bare, learner = stack().logits(ids), objective()
    assert torch.equal(learner.model.logits(ids), bare)
    for layer in learner.adapted.values():
        nn.init.normal_(layer.b_OR, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(learner.model.logits(ids), bare)


def test_every_weight_moves_b_at_the_first_step_and_a_at_the_second() -> None:
    fresh, after_one = trained(rows_at_once=8, steps=1)
    _, after_two = trained(rows_at_once=8, steps=2)
    assert set(fresh) == {
        f"{name}.lora_{part}"
        for name in ("blocks.0.attn.o", "blocks.1.attn.o", "lm_head")
        for part in "AB"
    }
    for name, tensor in after_one.items():
        if name.endswith("lora_B"):
            assert not torch.count_nonzero(fresh[name]), "B starts at zero"
            assert torch.count_nonzero(tensor), f"{name} has not moved"
        else:
            assert not torch.equal(after_two[name], tensor), f"{name} has not moved"


def test_eight_rows_at_once_equal_one_row_eight_times() -> None:
    fresh, together = trained(rows_at_once=8, steps=2)
    _, apart = trained(rows_at_once=1, steps=2)
    moved = max(float((together[name] - fresh[name]).abs().max()) for name in fresh)
    apart_by = max(float((together[name] - apart[name]).abs().max()) for name in fresh)
    assert moved > 100 * OTHER_ORDER
    assert apart_by < OTHER_ORDER


def test_only_supervised_positions_are_learned_and_from_their_own_token() -> None:
    learner = objective()
    (row,) = draw_rows(1)
    other = EncodedRow((11, 0, *row.ids[2:]), row.labels, row.line)
    one, two = (
        learner.loss_sum(collate_window([each]))
        for each in (row, EncodedRow((11, *row.ids[1:]), row.labels, row.line))
    )
    assert torch.equal(one, two), "a token whose next one is not learned has no part in the loss"
    assert not torch.equal(one, learner.loss_sum(collate_window([other])))


@pytest.mark.parametrize("n_middle", [0, 1, 3])
def test_adapters_are_attached_once(n_middle: int) -> None:
    model = stack(n_middle)
    assert len(model.attach_adapters(LoraSpec(rank=2))) == n_middle + 1
    with pytest.raises(AssertionError, match="adapted already"):
        model.attach_adapters(LoraSpec(rank=2))
