"""Tier A: the proxy graph of QLoRA against numpy in float64, loss and every gradient.

NF4 rounding is done first: both sides get the same weights. The oracle knows nothing of autograd;
it asks for the loss twice per value.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests_integration.tolerances import (
    F32_LOSS_SUM,
    F64_FORMULA,
    F64_GRAD,
    assert_close_number,
    assert_parity,
    differs,
)
from vox_populi.hf.families import gemma2, granite
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.model.proxy_stack import ProxyStack
from vox_tensor.collate import collate_window
from vox_tensor.lora import FrozenLinear, LoraLinear
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4 import dequantize_nf4, quantize_nf4
from vox_tensor.nf4_weight import DensePool, Nf4Weight
from vox_tensor.records import IGNORE_INDEX, EncodedRow

VOCAB, WIDTH = 12, 8
SPEC = LoraSpec(rank=2, alpha=6.0)
STEP = 1e-5
GEMMA = parse_model_config(
    {**gemma2.FAMILY.tiny, "hidden_size": WIDTH, "final_logit_softcapping": 2.0}, "config.json"
)
"""Scales embeddings by the root of 8 and caps logits; granite divides them."""
GRANITE = parse_model_config({**granite.FAMILY.tiny, "logits_scaling": 1.5}, "config.json")
ROWS = (
    EncodedRow((3, 1, 4, 1, 5, 9), (IGNORE_INDEX,) * 3 + (1, 5, 9), 1),
    EncodedRow((2, 6, 5, 3), (IGNORE_INDEX,) * 3 + (3,), 2),
)
PAIRS = ((4, 1), (1, 5), (5, 9), (5, 3))
"""Token and the one after it, at every supervised position of `ROWS`."""

Array = NDArray[np.float64]


def oracle(values: Mapping[str, Array], n_middle: int, config: ModelConfig | None = None) -> float:
    """Sum of the losses; `values` has E, and W, A, B of every layer by its number."""
    low_rank_scale = SPEC.alpha / SPEC.rank

    def layer(x: Array, name: str) -> Array:
        update = (x @ values[f"A{name}"].T) @ values[f"B{name}"].T
        return np.asarray(x @ values[f"W{name}"].T + low_rank_scale * update)

    total = 0.0
    for token, target in PAIRS:
        h = values["E"][token] * (1 if config is None else config.embedding_scale)
        for number in range(n_middle):
            normed = h / np.sqrt(np.mean(h * h) + 1e-5)
            h = h + layer(normed, str(number)) * (n_middle**-0.5)
        if n_middle:
            h = h / np.sqrt(n_middle)
        logits = layer(h, "head") * (1 if config is None else config.logit_scale)
        if config is not None and config.logit_cap is not None:
            logits = config.logit_cap * np.tanh(logits / config.logit_cap)
        peak = logits.max()
        total += peak + np.log(np.exp(logits - peak).sum()) - logits[target]
    return float(total)


def build(
    n_middle: int, dtype: torch.dtype, config: ModelConfig | None = None
) -> tuple[ProxyStack, dict[str, LoraLinear], dict[str, Array]]:
    """Our stack with a B that is not zero, and its values for the oracle."""
    generator = torch.Generator().manual_seed(7)
    embed_VD = torch.randn(VOCAB, WIDTH, generator=generator)
    dense = [torch.randn(WIDTH, WIDTH, generator=generator) for _ in range(n_middle)]
    quantized = [quantize_nf4(weight) for weight in (*dense, embed_VD)]
    pool = DensePool()
    layers = [FrozenLinear(Nf4Weight(each, pool)) for each in quantized]
    middle = {f"blocks.{i}.attn.o": layer for i, layer in enumerate(layers[:-1])}
    stack = ProxyStack(embed_VD.to(dtype), middle, layers[-1], config)
    adapted = stack.attach_adapters(SPEC, generator)
    values: dict[str, Array] = {"E": embed_VD.double().numpy()}
    for name, layer, weight in zip(_numbers(n_middle), adapted.values(), quantized, strict=True):
        torch.nn.init.normal_(layer.b_OR, std=0.5, generator=generator)
        values[f"W{name}"] = dequantize_nf4(weight, torch.float64).numpy()
        values[f"A{name}"] = layer.a_RI.detach().double().numpy()
        values[f"B{name}"] = layer.b_OR.detach().double().numpy()
    return stack, adapted, values


def _numbers(n_middle: int) -> tuple[str, ...]:
    return (*map(str, range(n_middle)), "head")


def central_differences(
    values: dict[str, Array], name: str, n_middle: int, config: ModelConfig | None
) -> torch.Tensor:
    gradient = np.zeros_like(values[name])
    for place in np.ndindex(gradient.shape):
        losses = []
        for sign in (1, -1):
            moved = values[name].copy()
            moved[place] += sign * STEP
            losses.append(oracle({**values, name: moved}, n_middle, config))
        gradient[place] = (losses[0] - losses[1]) / (2 * STEP)
    return torch.from_numpy(gradient)


@pytest.mark.parametrize("n_middle", [0, 1, 3])
@pytest.mark.requirement("tier-a")
def test_proxy_stack_loss_matches_numpy(n_middle: int) -> None:
    batch = collate_window(ROWS)
    expected = oracle(build(n_middle, torch.float64)[2], n_middle)
    for dtype, row in ((torch.float64, F64_FORMULA), (torch.float32, F32_LOSS_SUM)):
        stack, adapted, values = build(n_middle, dtype)
        assert_close_number(stack.loss_sum(batch).item(), expected, row)
        without = {k: np.zeros_like(v) if k.startswith("B") else v for k, v in values.items()}
        assert adapted
        assert differs(torch.tensor(oracle(without, n_middle)), torch.tensor(expected), row)


def test_proxy_stack_has_the_factors_and_the_cap_of_its_family() -> None:
    batch, plain = collate_window(ROWS), torch.tensor(oracle(build(3, torch.float64)[2], 3))
    for config in (GEMMA, GRANITE):
        stack, _, values = build(3, torch.float64, config)
        expected = oracle(values, 3, config)
        assert differs(torch.tensor(expected), plain, F64_FORMULA)
        assert_close_number(stack.loss_sum(batch).item(), expected, F64_FORMULA)
        targets = torch.tensor([target for _, target in PAIRS])
        logits = stack.logits(torch.tensor([token for token, _ in PAIRS]))
        loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        assert_close_number(loss.item(), expected, F64_FORMULA)


@pytest.mark.parametrize(
    ("n_middle", "config"), [(0, None), (1, None), (3, None), (1, GEMMA), (1, GRANITE)]
)
@pytest.mark.requirement("tier-a")
def test_proxy_stack_gradients_match_numpy(n_middle: int, config: ModelConfig | None) -> None:
    stack, adapted, values = build(n_middle, torch.float64, config)
    stack.loss_sum(collate_window(ROWS)).backward()
    for name, layer in zip(_numbers(n_middle), adapted.values(), strict=True):
        for letter, parameter in (("A", layer.a_RI), ("B", layer.b_OR)):
            assert parameter.grad is not None
            assert torch.count_nonzero(parameter.grad)
            expected = central_differences(values, f"{letter}{name}", n_middle, config)
            assert_parity(parameter.grad.double(), expected, F64_GRAD)
