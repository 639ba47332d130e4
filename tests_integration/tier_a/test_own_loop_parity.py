"""A training loop with `vox_tensor` beside the same loop with PEFT: losses, gradients, targets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tests_integration.tolerances import (
    F32_GRAD,
    F32_LOGITS,
    F32_LOSS,
    assert_close_number,
    assert_parity,
    differs,
)
from vox_tensor import (
    LoraSpec,
    add_lora,
    linear_cross_entropy,
    load_lora_state_dict,
    lora_layers,
    lora_state_dict,
    merged,
    projection_of,
    without_lora,
)

peft = pytest.importorskip("peft", reason="the oracle")

STEPS = 5
IDS = torch.tensor([[5, 9, 2, 7, 11, 3, 2, 8], [1, 4, 4, 13, 6, 10, 12, 0]])


def llama() -> PreTrainedModel:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )


def gpt2() -> PreTrainedModel:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=64, n_positions=16, n_embd=32, n_layer=2, n_head=4)
    config.attn_pdrop = config.embd_pdrop = config.resid_pdrop = 0.0
    return GPT2LMHeadModel(config)


Case = tuple[Callable[[], PreTrainedModel], list[str], LoraSpec]
CASES: dict[str, Case] = {
    "llama": (llama, ["q_proj", "v_proj"], LoraSpec(rank=4, alpha=8)),
    "llama with its head, rslora": (
        llama,
        ["gate_proj", "down_proj", "lm_head"],
        LoraSpec(rank=4, alpha=8, use_rslora=True),
    ),
    "gpt2 (Conv1D)": (gpt2, ["c_attn", "c_proj"], LoraSpec(rank=4, alpha=8)),
}


def with_peft(case: Case) -> tuple[torch.nn.Module, dict[str, Tensor]]:
    """The oracle, and the first values of its adapters."""
    build, targets, spec = case
    config = peft.LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        use_rslora=spec.use_rslora,
        target_modules=targets,
        task_type="CAUSAL_LM",
        fan_in_fan_out=build is gpt2,
    )
    model: torch.nn.Module = peft.get_peft_model(build(), config)
    tensors = tensors_of(model)
    return model, {name: tensor.clone() for name, tensor in tensors.items()}


def tensors_of(oracle: torch.nn.Module) -> dict[str, Tensor]:
    """The adapters alone, also where the head has one."""
    tensors: dict[str, Tensor] = peft.get_peft_model_state_dict(oracle, save_embedding_layers=False)
    return tensors


def five_steps(
    model: torch.nn.Module, loss_of: Callable[[], Tensor]
) -> tuple[list[float], list[list[Tensor]]]:
    """Losses and gradients of plain AdamW."""
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-2, weight_decay=0.01)
    losses, gradients = [], []
    for _ in range(STEPS):
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()
        gradients.append([p.grad.clone() for p in learned if p.grad is not None])
        optimizer.step()
        losses.append(loss.item())
    return losses, gradients


def head_loss(model: PreTrainedModel) -> Tensor:
    """The mean over the predicted positions, without the logits of all of them."""
    hidden = model.base_model(IDS).last_hidden_state[:, :-1].reshape(-1, 32)
    targets = IDS[:, 1:].reshape(-1)
    head = projection_of(model.get_submodule("lm_head"), hidden)
    return linear_cross_entropy(hidden, head, targets) / len(targets)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("own_head", [False, True], ids=["their loss", "linear_cross_entropy"])
def test_five_steps_equal_those_of_peft(case: Case, *, own_head: bool) -> None:
    oracle, start = with_peft(case)
    expected, expected_gradients = five_steps(oracle, lambda: oracle(IDS, labels=IDS).loss)

    build, targets, spec = case
    model = build()
    add_lora(model, spec, targets)
    load_lora_state_dict(model, start)
    losses, gradients = five_steps(
        model, lambda: head_loss(model) if own_head else model(IDS, labels=IDS).loss
    )

    for loss, other in zip(losses, expected, strict=True):
        assert_close_number(loss, other, F32_LOSS)
    assert len(gradients) == STEPS
    for ours, theirs in zip(gradients, expected_gradients, strict=True):
        for one, another in zip(ours, theirs, strict=True):
            assert_parity(one, another, F32_GRAD)
    assert losses[-1] < losses[0], "something was learned"
    trained = tensors_of(oracle)
    assert set(trained) == set(lora_state_dict(model))
    assert any(differs(trained[name], start[name], F32_GRAD) for name in trained)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_merged_and_base_alone_equal_those_of_peft(case: Case) -> None:
    oracle, start = with_peft(case)
    start = {
        name: torch.randn(t.shape, generator=torch.Generator().manual_seed(1)) / 8
        for name, t in start.items()
    }
    peft.set_peft_model_state_dict(oracle, start)
    build, targets, spec = case
    model = build()
    add_lora(model, spec, targets)
    load_lora_state_dict(model, start)
    with torch.no_grad():
        expected = oracle(IDS).logits
        assert_parity(model(IDS).logits, expected, F32_LOGITS)
        with without_lora(model):
            base = model(IDS).logits
        assert torch.equal(base, build()(IDS).logits)
        assert differs(base, expected, F32_LOGITS)
        with merged(model):
            assert {type(m) for m in model.modules()} == {type(m) for m in build().modules()}
            assert_parity(model(IDS).logits, expected, F32_LOGITS)


@pytest.mark.parametrize("build", [llama, gpt2])
@pytest.mark.parametrize(
    "targets",
    ["all-linear", ["q_proj", "c_attn"], r".*\.1\..*_proj", ["model.layers.0.mlp.up_proj", "c_fc"]],
    ids=["all-linear", "names", "expression", "whole name"],
)
def test_targets_choose_the_modules_that_peft_chooses(
    build: Callable[[], PreTrainedModel], targets: str | list[str]
) -> None:
    config = peft.LoraConfig(
        target_modules=targets, task_type="CAUSAL_LM", fan_in_fan_out=build is gpt2
    )
    oracle = peft.get_peft_model(build(), config)
    expected = oracle.base_model.targeted_module_names
    model = build()
    # PEFT lets pass a name that is not there while another one is; `add_lora` refuses it.
    present = targets if isinstance(targets, str) else [t for t in targets if _is_there(model, t)]
    add_lora(model, LoraSpec(rank=2), present)
    assert expected
    assert list(lora_layers(model)) == expected


def _is_there(model: torch.nn.Module, target: str) -> bool:
    return any(f".{name}".endswith(f".{target}") for name, _ in model.named_modules())
