"""Tier A, row 7 of the acceptance runbook: a scalar cross entropy on the same logits.

The source system's own inputs. Our loss is fused with its head and never holds logits, so the
head is the identity here: a product with it gives the logits back exactly.

Shape letters: P positions, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers.loss.loss_utils import fixed_cross_entropy

from tests_integration.tolerances import SOURCE_CE, assert_close_number
from vox_tensor.head_loss import linear_cross_entropy
from vox_tensor.lora import Projection

P, V = 4, 11
LOGITS_PV = 0.05 + 0.071 * np.arange(P * V, dtype=np.float64).reshape(P, V)
LABELS_P = (0, 5, 2, 9)


def mean_loss_in_float64(labels_P: tuple[int, ...]) -> float:
    peak_P = LOGITS_PV.max(axis=1)
    log_sum_P = peak_P + np.log(np.exp(LOGITS_PV - peak_P[:, None]).sum(axis=1))
    return float(np.mean(log_sum_P - LOGITS_PV[np.arange(P), list(labels_P)]))


def ours(labels_P: tuple[int, ...]) -> float:
    logits_PV = torch.from_numpy(LOGITS_PV).float()
    total: Tensor = linear_cross_entropy(
        logits_PV, Projection(torch.eye(V), None), torch.tensor(labels_P), chunk_rows=3
    )
    return total.item() / P


@pytest.mark.requirement("7")
def test_candle_burn_cross_entropy_scalar_matches() -> None:
    theirs = fixed_cross_entropy(torch.from_numpy(LOGITS_PV).float(), torch.tensor(LABELS_P))
    assert_close_number(ours(LABELS_P), mean_loss_in_float64(LABELS_P), SOURCE_CE)
    assert_close_number(ours(LABELS_P), theirs.item(), SOURCE_CE)


@pytest.mark.requirement("7")
def test_candle_burn_cross_entropy_would_see_a_shifted_label() -> None:
    shifted = tuple((label + 1) % V for label in LABELS_P)
    assert abs(ours(shifted) - mean_loss_in_float64(LABELS_P)) > SOURCE_CE.atol
    assert_close_number(ours(shifted), mean_loss_in_float64(shifted), SOURCE_CE)
