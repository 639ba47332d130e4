"""Every byte under every scale, against the specification in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vox_tensor.mxfp4 import dequantize_mxfp4
from vox_tensor.mxfp4_format import BLOCK, NAN_SCALE


def value_of(code: int) -> float:
    """E2M1 by its bits: sign, exponent with bias 1, mantissa."""
    sign, exponent, mantissa = code >> 3, code >> 1 & 3, code & 1
    magnitude = mantissa * 0.5 if exponent == 0 else 2.0 ** (exponent - 1) * (1 + mantissa * 0.5)
    return -magnitude if sign else magnitude


def test_every_byte_under_every_scale_is_the_value_of_the_specification() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(16, 16)
    scales = torch.arange(NAN_SCALE, dtype=torch.uint8).view(-1, 1).expand(-1, 16)
    found = dequantize_mxfp4(every.expand(NAN_SCALE, 16, 16), scales).double().numpy()
    row = np.array([value_of(code) for byte in range(256) for code in (byte & 15, byte >> 4)])
    expected = row * 2.0 ** (np.arange(NAN_SCALE)[:, None] - 127.0)
    largest = float(torch.finfo(torch.bfloat16).max)
    expected = np.where(np.abs(expected) > largest, np.copysign(np.inf, expected), expected)
    assert np.array_equal(found, expected)
    assert np.array_equal(np.signbit(found), np.signbit(expected))
    assert found.shape == (NAN_SCALE, 16 * BLOCK)


def test_the_last_scale_is_nan_and_shapes_must_agree() -> None:
    blocks = torch.zeros(1, 16, dtype=torch.uint8)
    assert dequantize_mxfp4(blocks, torch.tensor([NAN_SCALE], dtype=torch.uint8)).isnan().all()
    with pytest.raises(ValueError, match="blocks of shape"):
        dequantize_mxfp4(blocks, torch.zeros(2, dtype=torch.uint8))
