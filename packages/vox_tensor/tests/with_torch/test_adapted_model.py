"""Adapters in models of any kind: what is chosen, what learns, what comes back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vox_tensor import (
    DenseCopies,
    DensePool,
    FrozenLinear,
    LoraLinear,
    LoraSpec,
    Nf4Weight,
    add_lora,
    load_lora_state_dict,
    lora_layers,
    lora_state_dict,
    merged,
    peft_config,
    quantize_nf4,
    without_lora,
)

Near = Callable[[Tensor | None, Tensor | None], None]


class Block(nn.Module):
    """Two projections and a norm, named as models name them."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(6, 6)
        self.v_proj = nn.Linear(6, 6, bias=False)
        self.norm = nn.LayerNorm(6)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        out: Tensor = x + self.q_proj(normed) * torch.tanh(self.v_proj(normed))
        return out


class Net(nn.Module):
    """Two blocks and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.head(x)
        return out

    def get_output_embeddings(self) -> nn.Module:
        return self.head


def net() -> Net:
    torch.manual_seed(0)
    return Net()


def learned(model: nn.Module) -> None:
    """Give every B a value, as training would."""
    generator = torch.Generator().manual_seed(3)
    for layer in lora_layers(model).values():
        nn.init.normal_(layer.b_OR, std=0.5, generator=generator)


X = torch.linspace(-1.0, 1.0, 24).view(4, 6)
Q = ["layers.0.q_proj", "layers.1.q_proj"]
QV = ["layers.0.q_proj", "layers.0.v_proj", "layers.1.q_proj", "layers.1.v_proj"]


@pytest.mark.parametrize(
    ("targets", "chosen"),
    [
        (["q_proj"], Q),
        (["q_proj", "v_proj"], QV),
        (("layers.1.q_proj", "head"), ["layers.1.q_proj", "head"]),
        (r"layers\.0\..*_proj", QV[:2]),
        (r".*\.q_proj", Q),
        ("all-linear", QV),
        ("All-Linear", QV),
    ],
)
def test_targets_are_read_as_in_peft(targets: str | list[str], chosen: list[str]) -> None:
    model = net()
    assert list(add_lora(model, LoraSpec(rank=2), targets)) == chosen
    assert list(lora_layers(model)) == chosen


def test_without_targets_all_linear_layers_but_the_head_are_adapted() -> None:
    assert list(add_lora(net(), LoraSpec(rank=2))) == QV


@pytest.mark.parametrize(
    ("targets", "error", "match"),
    [
        (["_proj"], ValueError, "no module is named _proj"),
        (["q_proj", "k_proj"], ValueError, "no module is named k_proj"),
        ([], ValueError, "no linear layer is named"),
        ("q_proj", ValueError, "no linear layer is named by 'q_proj'"),
        (r"layers\.0\.q", ValueError, "no linear layer is named"),
        (["norm"], TypeError, r"not linear layers: layers\.0\.norm, layers\.1\.norm"),
    ],
)
def test_targets_that_name_nothing_to_adapt_are_refused(
    targets: str | list[str], error: type[Exception], match: str
) -> None:
    model = net()
    with pytest.raises(error, match=match):
        add_lora(model, LoraSpec(rank=2), targets)
    assert lora_layers(model) == {}
    assert all(p.requires_grad for p in model.parameters()), "nothing was changed"


def test_a_model_is_adapted_once() -> None:
    model = net()
    add_lora(model, LoraSpec(rank=2), ["q_proj"])
    with pytest.raises(ValueError, match="already"):
        add_lora(model, LoraSpec(rank=2), ["v_proj"])


def test_only_the_adapters_learn_and_a_fresh_one_changes_nothing() -> None:
    model = net()
    before = model(X)
    layers = add_lora(model, LoraSpec(rank=2, alpha=3.0), ["q_proj"])
    assert torch.equal(model(X), before)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"{name}.{p}" for name in Q for p in ("a_RI", "b_OR")}
    assert {layer.spec for layer in layers.values()} == {LoraSpec(rank=2, alpha=3.0)}
    learned(model)
    assert not torch.equal(model(X), before)


def test_a_generator_decides_the_first_values_layer_by_layer() -> None:
    adapted = []
    for number, seed in enumerate((5, 5, 6)):
        model = net()
        torch.manual_seed(number)
        generator = torch.Generator().manual_seed(seed)
        adapted.append(add_lora(model, LoraSpec(rank=2), generator=generator))
    first, again, other = adapted
    assert all(torch.equal(first[name].a_RI, again[name].a_RI) for name in QV)
    assert not any(torch.equal(first[name].a_RI, other[name].a_RI) for name in QV)
    assert not torch.equal(first[QV[0]].a_RI, first[QV[1]].a_RI)


def test_a_model_that_is_one_layer_has_no_place_for_an_adapter() -> None:
    with pytest.raises(ValueError, match="no linear layer"):
        add_lora(nn.Linear(6, 6), LoraSpec(rank=2))


def test_dropout_follows_the_mode_of_the_model() -> None:
    model = net().eval()
    add_lora(model, LoraSpec(rank=2, dropout=0.5), ["q_proj"])
    learned(model)
    assert torch.equal(model(X), model(X))
    model.train()
    assert not torch.equal(model(X), model(X))


def test_tensors_go_out_and_come_in_under_the_names_of_peft() -> None:
    model, other = net(), net()
    add_lora(model, LoraSpec(rank=2), ["q_proj"])
    add_lora(other, LoraSpec(rank=2), ["q_proj"])
    learned(model)
    tensors = lora_state_dict(model)
    assert list(tensors) == [
        f"base_model.model.{name}.lora_{part}.weight" for name in Q for part in ("A", "B")
    ]
    assert [tuple(t.shape) for t in tensors.values()] == [(2, 6), (6, 2)] * 2
    assert not any(t.requires_grad for t in tensors.values())
    assert not torch.equal(other(X), model(X))
    load_lora_state_dict(other, tensors)
    assert torch.equal(other(X), model(X))


def test_tensors_that_do_not_fit_are_named_and_none_is_copied() -> None:
    model = net()
    add_lora(model, LoraSpec(rank=2), ["q_proj"])
    own = {name: tensor.clone() for name, tensor in lora_state_dict(model).items()}
    first, second, third, last = own
    tensors = {
        first: torch.ones(2, 6),
        second: torch.ones(6, 3),
        third: torch.ones(2, 6),
        "other": torch.ones(1),
    }
    with pytest.raises(ValueError, match="missing") as caught:
        load_lora_state_dict(model, tensors)
    message = str(caught.value)
    assert f"{last} is missing" in message
    assert "other is not expected" in message
    assert f"{second} is [6, 3], expected [6, 2]" in message
    assert all(torch.equal(own[name], tensor) for name, tensor in lora_state_dict(model).items())


@pytest.mark.parametrize(
    ("targets", "named"),
    [
        (["q_proj"], ["q_proj"]),
        (["layers.1.q_proj", "layers.0.v_proj"], ["layers.0.v_proj", "layers.1.q_proj"]),
        ("all-linear", ["q_proj", "v_proj"]),
    ],
)
def test_the_configuration_names_what_is_adapted(
    targets: str | list[str], named: list[str]
) -> None:
    model = net()
    add_lora(model, LoraSpec(rank=4, alpha=8.0, dropout=0.1, use_rslora=True), targets)
    assert peft_config(model, "my-base") == {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "my-base",
        "r": 4,
        "lora_alpha": 8.0,
        "lora_dropout": 0.1,
        "use_rslora": True,
        "bias": "none",
        "target_modules": named,
    }


def test_a_model_without_adapters_has_no_configuration() -> None:
    with pytest.raises(ValueError, match="no LoRA layers"):
        peft_config(net())


def test_merged_computes_the_same_with_plain_layers_and_then_gives_the_adapters_back(
    assert_near_f32: Near,
) -> None:
    model = net()
    layers = add_lora(model, LoraSpec(rank=2))
    learned(model)
    expected = model(X)
    with merged(model) as plain:
        assert plain is model
        assert lora_layers(plain) == {}
        assert set(plain.state_dict()) == set(net().state_dict())
        assert_near_f32(plain(X), expected)
    assert lora_layers(model) == layers
    assert torch.equal(model(X), expected)


def fail_within(model: nn.Module) -> None:
    with without_lora(model):
        message = "the body"
        raise RuntimeError(message)


def test_without_lora_is_the_base_and_the_adapters_come_back_after_a_failure() -> None:
    model, base = net(), net()
    layers = add_lora(model, LoraSpec(rank=2))
    learned(model)
    with without_lora(model) as alone:
        assert alone is model
        assert torch.equal(alone(X), base(X))
    with pytest.raises(RuntimeError, match="the body"):
        fail_within(model)
    assert lora_layers(model) == layers
    assert not torch.equal(model(X), base(X))


def test_a_base_in_four_bits_is_adapted_and_not_merged() -> None:
    model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    quantized = quantize_nf4(torch.randn(64, 64), block_size=64, double_quant=False)
    model[1] = FrozenLinear(Nf4Weight(quantized, DensePool(DenseCopies.LAYER)))
    assert list(add_lora(model, LoraSpec(rank=2))) == ["0", "1"]
    model(torch.randn(2, 64)).sum().backward()
    assert all(layer.b_OR.grad is not None for layer in lora_layers(model).values())
    with pytest.raises(TypeError, match="plain linear layer"), merged(model):
        pass
    assert all(isinstance(layer, LoraLinear) for layer in model)
