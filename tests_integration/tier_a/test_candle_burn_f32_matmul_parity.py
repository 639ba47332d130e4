"""Tier A, row 5 of the acceptance runbook: an f32 product, on the source system's own inputs.

The source system compares two tensor libraries with each other. Here our projection is compared
with numpy in float64 and with the `Conv1D` of transformers, which keeps weights `[in, out]` as one
of those libraries did.

Shape letters: T rows, I input features, O output features.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from tests_integration.tolerances import SOURCE_F32, assert_parity, differs
from vox_tensor.lora import Projection, project_shared

T, I, O = 5, 7, 4  # noqa: E741 - shape letters
X_TI = 0.1 + 0.03 * np.arange(T * I, dtype=np.float64).reshape(T, I)
W_IO = -0.2 + 0.02 * np.arange(I * O, dtype=np.float64).reshape(I, O)


def ours(x_TI: Tensor, w_IO: Tensor) -> Tensor:
    """`x @ W` by the projection of the training graph, which wants `[out, in]`."""
    (y_TO,) = project_shared(x_TI, (Projection(w_IO.t().contiguous(), None),))
    return y_TO


@pytest.mark.requirement("5")
def test_candle_burn_cpu_f32_matmul_matches() -> None:
    x_TI, w_IO = torch.from_numpy(X_TI).float(), torch.from_numpy(W_IO).float()
    expected_TO = torch.from_numpy(X_TI @ W_IO).float()
    conv = Conv1D(O, I)  # type: ignore[no-untyped-call]  # theirs, unannotated
    with torch.no_grad():
        conv.weight.copy_(w_IO)
        conv.bias.zero_()
        theirs_TO = conv(x_TI)
    actual_TO = ours(x_TI, w_IO)
    assert actual_TO.numel() == T * O
    assert_parity(actual_TO, expected_TO, SOURCE_F32)
    assert_parity(actual_TO, theirs_TO, SOURCE_F32)


@pytest.mark.requirement("5")
def test_candle_burn_cpu_f32_matmul_would_see_a_turned_weight() -> None:
    x_TI, w_IO = torch.from_numpy(X_TI).float(), torch.from_numpy(W_IO).float()
    expected_TO = torch.from_numpy(X_TI @ W_IO).float()
    turned_IO = w_IO.reshape(O, I).t().contiguous()
    assert differs(ours(x_TI, turned_IO), expected_TO, SOURCE_F32)
