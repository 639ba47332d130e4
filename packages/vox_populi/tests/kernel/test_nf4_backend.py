"""Whoever makes the dense copy, it is the same copy."""

from __future__ import annotations

import pytest
import torch

from vox_populi import extras
from vox_populi.kernel import nf4_backend
from vox_populi.kernel.nf4_backend import bitsandbytes_dequantizer, dequantizer_for, works_on
from vox_tensor.nf4 import dequantize_nf4, quantize_nf4

BLOCK_SIZE = 64


def test_torch_serves_every_device_but_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dequantizer_for("cpu") is dequantize_nf4
    assert dequantizer_for("mps") is dequantize_nf4
    monkeypatch.setattr(extras, "is_installed", lambda module: False)
    assert dequantizer_for("cuda") is dequantize_nf4


@pytest.mark.parametrize("double_quant", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(128, 96), (6, 10)])
def test_bitsandbytes_gives_the_numbers_of_the_reference(
    *, double_quant: bool, dtype: torch.dtype, shape: tuple[int, int]
) -> None:
    pytest.importorskip("bitsandbytes", reason="the peer to compare with")
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    quantized = quantize_nf4(weight, block_size=BLOCK_SIZE, double_quant=double_quant)
    expected = dequantize_nf4(quantized, dtype)
    dequantize = bitsandbytes_dequantizer()
    place = torch.zeros(shape, dtype=dtype)
    assert torch.equal(dequantize(quantized, dtype, None), expected)
    assert dequantize(quantized, dtype, place) is place
    assert torch.equal(place, expected)
    assert not torch.equal(expected, weight.to(dtype)), "quantising must change something"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_cuda_it_gives_the_numbers_of_the_reference(dtype: torch.dtype) -> None:
    weight = torch.randn(512, 384, generator=torch.Generator().manual_seed(0))
    on_cpu = quantize_nf4(weight, block_size=BLOCK_SIZE)
    expected = dequantize_nf4(on_cpu, dtype)
    quantized = on_cpu.to("cuda")
    assert torch.equal(dequantizer_for("cuda")(quantized, dtype, None).cpu(), expected)


def test_a_build_without_kernels_for_the_device_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> torch.Tensor:
        message = "compiled without support for this version of CUDA"
        raise RuntimeError(message)

    assert works_on("cpu", dequantize_nf4)
    assert not works_on("cpu", broken)
    monkeypatch.setattr(extras, "is_installed", lambda module: True)
    monkeypatch.setattr(nf4_backend, "bitsandbytes_dequantizer", lambda: broken)
    monkeypatch.setattr(nf4_backend, "works_on", lambda device, peers: peers is not broken)
    assert dequantizer_for("cuda") is dequantize_nf4
