"""What is computed again is what was there: the same gradients, from less that is kept."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn

from vox_populi.hf.family_registry import FAMILIES
from vox_populi.hf.keymap import adapter_modules
from vox_populi.hf.model_config import parse_model_config
from vox_populi.model.activation_memory import ActivationMemory, Activations, repeated
from vox_populi.model.lora_transformer import adapter_parameters, attach_adapters
from vox_populi.model.transformer import Transformer
from vox_tensor.collate import PackedBatch, collate_window
from vox_tensor.lora import FrozenLinear
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4 import quantize_nf4
from vox_tensor.nf4_weight import DenseCopies, DensePool, Nf4Weight
from vox_tensor.records import IGNORE_INDEX, EncodedRow

VOCAB = 24
CASES = {family.name: {**family.tiny, "vocab_size": VOCAB} for family in FAMILIES}
SAVING = [each for each in ActivationMemory if each is not ActivationMemory.NONE]


def batch(start: int = 1) -> PackedBatch:
    ids = tuple(range(start, start + 6))
    rows = [EncodedRow(ids, (IGNORE_INDEX, IGNORE_INDEX, *ids[2:])), EncodedRow((7, 8), (7, 8))]
    return collate_window(rows)


def learning(
    name: str, memory: ActivationMemory, dropout: float = 0.2, pool: DensePool | None = None
) -> tuple[Transformer, Mapping[str, nn.Parameter], torch.Generator]:
    torch.manual_seed(0)
    model = Transformer(parse_model_config(CASES[name], "test"))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    model.tie_head()
    if pool is not None:
        quantize_blocks(model, pool)
    draws = torch.Generator().manual_seed(3)
    spec = LoraSpec(rank=2, dropout=dropout)
    adapted = attach_adapters(model, adapter_modules(model.config), spec, draws, draws)
    for layer in adapted.values():
        nn.init.normal_(layer.b_OR, generator=draws)
    model.activations = Activations(memory, (draws,))
    return model.train(), adapter_parameters(adapted), draws


def quantize_blocks(model: Transformer, pool: DensePool) -> None:
    for block in model.blocks:
        for part in (block.get_submodule("attn"), block.get_submodule("mlp")):
            for child, layer in list(part.named_children()):
                if isinstance(layer, nn.Linear):
                    packed = Nf4Weight(quantize_nf4(layer.weight.detach()), pool)
                    setattr(part, child, FrozenLinear(packed, layer.bias))


def two_windows(
    model: Transformer, parameters: Mapping[str, nn.Parameter]
) -> tuple[list[float], dict[str, Tensor]]:
    """Losses and gradients of a step that accumulates over two windows."""
    losses = []
    for start in (1, 9):
        loss = model.loss_sum(batch(start))
        loss.backward()
        losses.append(loss.item())
    return losses, {name: p.grad.clone() for name, p in parameters.items() if p.grad is not None}


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("memory", SAVING)
@pytest.mark.parametrize("name", CASES)
def test_every_family_has_the_same_gradients_bit_for_bit(
    name: str, memory: ActivationMemory, dropout: float
) -> None:
    kept, parameters, draws = learning(name, ActivationMemory.NONE, dropout)
    losses, gradients = two_windows(kept, parameters)
    assert gradients.keys() == parameters.keys()
    assert all(gradient.any() for gradient in gradients.values())
    model, same_parameters, same_draws = learning(name, memory, dropout)
    same_losses, same_gradients = two_windows(model, same_parameters)
    assert same_losses == losses
    for place, gradient in gradients.items():
        assert torch.equal(same_gradients[place], gradient), place
    assert torch.equal(same_draws.get_state(), draws.get_state()), "the next step draws the same"


@pytest.mark.parametrize("copies", list(DenseCopies))
@pytest.mark.parametrize("memory", SAVING)
def test_a_base_in_nf4_has_the_same_gradients(
    memory: ActivationMemory, copies: DenseCopies
) -> None:
    expected = two_windows(*learning("llama", ActivationMemory.NONE, pool=DensePool(copies))[:2])
    dense = two_windows(*learning("llama", ActivationMemory.NONE)[:2])
    found = two_windows(*learning("llama", memory, pool=DensePool(copies))[:2])
    assert found[0] == expected[0] != dense[0]
    for place, gradient in expected[1].items():
        assert torch.equal(found[1][place], gradient), place


def kept_values(model: Transformer) -> int:
    """Values that autograd holds after a forward pass, outside of the parts that are repeated."""
    fixed = {p.untyped_storage().data_ptr() for p in model.parameters()}
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in fixed:
            held[storage.data_ptr()] = storage.nbytes() // 4
        return tensor

    hooks: AbstractContextManager[None] = torch.autograd.graph.saved_tensors_hooks(
        pack, lambda tensor: tensor
    )
    with hooks:
        loss = model.loss_sum(batch())
    assert loss.requires_grad
    return sum(held.values())


def test_each_mode_leaves_less_to_autograd_than_the_one_before() -> None:
    none, selective, full, offload = (
        kept_values(learning("llama", memory)[0]) for memory in ActivationMemory
    )
    assert none > selective > full == offload


def test_nothing_is_repeated_where_nothing_is_recorded() -> None:
    model, _, draws = learning("llama", ActivationMemory.FULL, dropout=0.0)
    recorded = model.loss_sum(batch())
    state = draws.get_state()
    with torch.no_grad():
        assert torch.equal(model.loss_sum(batch()), recorded)
    assert torch.equal(draws.get_state(), state)


def test_a_stream_goes_on_where_it_was_after_a_repeated_pass_that_fails() -> None:
    draws = torch.Generator().manual_seed(5)

    def part(x_TD: Tensor, *, is_repeat: bool = False) -> Tensor:
        out = x_TD * torch.rand(x_TD.shape, generator=draws)
        if is_repeat:
            message = "no memory"
            raise MemoryError(message)
        return out * out

    x_TD = torch.ones(2, 3, requires_grad=True)
    out = repeated(part, x_TD, Activations(ActivationMemory.FULL, (draws,)))
    torch.rand(4, generator=draws)
    state = draws.get_state()
    with pytest.raises(MemoryError):
        out.sum().backward()
    assert torch.equal(draws.get_state(), state)


def test_a_tensor_that_is_asked_for_again_is_computed_again() -> None:
    def part(x_TD: Tensor, *, is_repeat: bool = False) -> Tensor:
        del is_repeat
        return (x_TD * x_TD).exp()

    x_TD = torch.tensor([[0.5, -1.0]], requires_grad=True)
    out = repeated(part, x_TD, Activations(ActivationMemory.FULL)).sum()
    (once,) = torch.autograd.grad(out, x_TD, retain_graph=True)
    (twice,) = torch.autograd.grad(out, x_TD)
    assert torch.equal(once, twice)
    torch.testing.assert_close(once, 2 * x_TD.detach() * (x_TD.detach() ** 2).exp())
