"""Tier B, row 8 of the acceptance runbook: NF4 there and back, then both paths on the same weight.

The source system's own ramp and shapes, `[13, 8]` in `[out, in]`, without double quantisation. It
quantises in blocks of 8, a size that neither bitsandbytes nor ours has: blocks of 8 come from a
few lines of numpy here. The sizes we do have, 32 and 64, leave a short last block of these 104
values; there bitsandbytes is the other path.

Shape letters: T rows, D features, V vocabulary, B blocks, S values of a block.
"""

from __future__ import annotations

import bitsandbytes.functional as bnb
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests_integration.tolerances import (
    EXACT,
    F32_ELEMENTWISE,
    SOURCE_F32_LINEAR,
    assert_parity,
    differs,
)
from vox_tensor.lora import FrozenLinear, Projection, project_shared
from vox_tensor.nf4 import NF4_LEVELS, dequantize_nf4, quantize_nf4
from vox_tensor.nf4_weight import DensePool, Nf4Weight

T, D, V = 5, 8, 13
RAMP = 0.11 + 0.037 * np.arange(T * D + D * V + V, dtype=np.float64)
X_TD = RAMP[: T * D].reshape(T, D)
W_VD = RAMP[T * D : T * D + D * V].reshape(V, D)
BIAS_V = RAMP[T * D + D * V :]
SOURCE_BLOCK = 8
LEVELS = np.array(NF4_LEVELS)
HALF_WIDEST_GAP = float(np.diff(LEVELS).max() / 2)


def f32(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.copy()).float()


def nf4_by_hand(w_VD: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest level times the largest magnitude, in blocks of eight."""
    w_BS = w_VD.reshape(-1, SOURCE_BLOCK)
    absmax_B = np.abs(w_BS).max(axis=1, keepdims=True)
    nearest_BS = np.abs((w_BS / absmax_B)[..., None] - LEVELS).argmin(axis=-1)
    dense_BS: NDArray[np.float64] = LEVELS[nearest_BS] * absmax_B
    return dense_BS.reshape(w_VD.shape)


@pytest.mark.requirement("8")
def test_candle_burn_nf4_dequant_lm_reference_linear_matches() -> None:
    dequantised_VD = nf4_by_hand(W_VD)
    (actual_TV,) = project_shared(f32(X_TD), (Projection(f32(dequantised_VD), f32(BIAS_V)),))
    shared_VD = f32(dequantised_VD).double().numpy()
    assert_parity(actual_TV, f32(X_TD @ shared_VD.T + BIAS_V), SOURCE_F32_LINEAR)
    assert differs(actual_TV, f32(X_TD @ W_VD.T + BIAS_V), SOURCE_F32_LINEAR), (
        "NF4 must have rounded"
    )


@pytest.mark.requirement("8")
@pytest.mark.parametrize("block_size", [32, 64])
def test_candle_burn_nf4_dequant_lm_reference_linear_matches_bitsandbytes(block_size: int) -> None:
    w_VD, x_TD, bias_V = f32(W_VD), f32(X_TD), f32(BIAS_V)
    quantised = quantize_nf4(w_VD, block_size=block_size, double_quant=False)
    codes, state = bnb.quantize_4bit(
        w_VD, blocksize=block_size, quant_type="nf4", compress_statistics=False
    )
    shared_VD = bnb.dequantize_4bit(codes, state)
    assert_parity(dequantize_nf4(quantised), shared_VD, EXACT)
    assert differs(shared_VD, w_VD, F32_ELEMENTWISE), "NF4 must have rounded"

    layer = FrozenLinear(Nf4Weight(quantised, DensePool()), bias_V)
    expected_TV = f32(X_TD @ shared_VD.double().numpy().T + BIAS_V)
    assert_parity(layer(x_TD), expected_TV, SOURCE_F32_LINEAR)
    assert_parity(
        layer(x_TD), torch.nn.functional.linear(x_TD, shared_VD, bias_V), SOURCE_F32_LINEAR
    )


@pytest.mark.requirement("8")
@pytest.mark.parametrize("block_size", [32, 64])
def test_candle_burn_nf4_dequant_lm_reference_error_is_bounded(block_size: int) -> None:
    quantised = quantize_nf4(f32(W_VD), block_size=block_size, double_quant=False)
    error = (dequantize_nf4(quantised) - f32(W_VD)).abs().reshape(-1)
    bound = quantised.absmax_B().repeat_interleave(block_size)[: error.numel()] * HALF_WIDEST_GAP
    assert bool((error <= bound + F32_ELEMENTWISE.atol).all())
    assert float(error.max()) > F32_ELEMENTWISE.atol
