"""Tier A, row 6 of the acceptance runbook: a biased linear layer shaped like a language model head.

The source system's own inputs: one running ramp through inputs, weight and bias. Our projection,
plain and inside of a fresh adapter, against numpy in float64 and the `Conv1D` of transformers.

Shape letters: T rows, D features, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from tests_integration.tolerances import EXACT, SOURCE_F32_LINEAR, assert_parity, differs
from vox_tensor.lora import LoraLinear, Projection, project_shared
from vox_tensor.lora_spec import LoraSpec

T, D, V = 5, 8, 13
RAMP = 0.11 + 0.037 * np.arange(T * D + D * V + V, dtype=np.float64)
X_TD = RAMP[: T * D].reshape(T, D)
W_DV = RAMP[T * D : T * D + D * V].reshape(D, V)
BIAS_V = RAMP[T * D + D * V :]


def f32(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.copy()).float()


def head() -> nn.Linear:
    """The layer with its weight `[out, in]`."""
    layer = nn.Linear(D, V)
    with torch.no_grad():
        layer.weight.copy_(f32(W_DV.T))
        layer.bias.copy_(f32(BIAS_V))
    return layer


@pytest.mark.requirement("6")
def test_candle_burn_cpu_f32_linear_lm_logits_match() -> None:
    x_TD = f32(X_TD)
    expected_TV = f32(X_TD @ W_DV + BIAS_V)
    conv = Conv1D(V, D)  # type: ignore[no-untyped-call]  # theirs, unannotated
    with torch.no_grad():
        conv.weight.copy_(f32(W_DV))
        conv.bias.copy_(f32(BIAS_V))
        theirs_TV = conv(x_TD)
    (actual_TV,) = project_shared(x_TD, (Projection(f32(W_DV.T), f32(BIAS_V)),))
    assert_parity(actual_TV, expected_TV, SOURCE_F32_LINEAR)
    assert_parity(actual_TV, theirs_TV, SOURCE_F32_LINEAR)
    (without_bias_TV,) = project_shared(x_TD, (Projection(f32(W_DV.T), None),))
    assert differs(without_bias_TV, expected_TV, SOURCE_F32_LINEAR)


@pytest.mark.requirement("6")
def test_candle_burn_cpu_f32_linear_lm_logits_of_a_fresh_adapter_are_its_bases() -> None:
    x_TD = f32(X_TD)
    adapted = LoraLinear(head(), LoraSpec(rank=2, alpha=4.0), torch.Generator().manual_seed(0))
    with torch.no_grad():
        fresh_TV = adapted(x_TD)
        assert_parity(fresh_TV, head()(x_TD), EXACT)
        assert_parity(fresh_TV, f32(X_TD @ W_DV + BIAS_V), SOURCE_F32_LINEAR)
        adapted.b_OR.fill_(0.1)
        assert differs(adapted(x_TD), fresh_TV, SOURCE_F32_LINEAR)
