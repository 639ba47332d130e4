"""The dense copy is the same, whichever policy makes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from vox_populi import extras
from vox_populi.kernel import nf4_backend
from vox_populi.kernel.nf4_backend import (
    DequantizerChoice,
    bitsandbytes_dequantizer,
    choose_dequantizer,
)
from vox_tensor.nf4 import BLOCK_SIZES, Nf4Tensor, dequantize_nf4, quantize_nf4

BLOCK_SIZE = 64


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    choose_dequantizer.cache_clear()
    yield
    choose_dequantizer.cache_clear()


def test_torch_serves_every_device_but_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    for device in ("cpu", "mps"):
        assert choose_dequantizer(device) == (dequantize_nf4, None)
    monkeypatch.setattr(extras, "is_installed", lambda module: False)
    chosen = choose_dequantizer("cuda")
    assert chosen.dequantize is dequantize_nf4
    assert chosen.note is not None
    assert "not installed" in chosen.note


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


ON_DEVICES = [pytest.param("cpu"), pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.mark.parametrize("device", ON_DEVICES)
@pytest.mark.parametrize("block_size", BLOCK_SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_peer_dequantiser_writes_into_the_given_buffer(
    device: str, dtype: torch.dtype, block_size: int
) -> None:
    pytest.importorskip("bitsandbytes", reason="the peer to compare with")
    weight = torch.randn(96, block_size, generator=torch.Generator().manual_seed(0))
    quantized = quantize_nf4(weight, block_size=block_size)
    expected = dequantize_nf4(quantized, dtype)
    there, place = quantized.to(device), torch.zeros(weight.shape, dtype=dtype, device=device)
    dequantize = bitsandbytes_dequantizer()
    assert torch.equal(dequantize(there, dtype, None).cpu(), expected)
    assert dequantize(there, dtype, place) is place
    assert torch.equal(place.cpu(), expected)
    assert not torch.equal(expected, weight.to(dtype))


@pytest.mark.gpu
def test_on_cuda_bitsandbytes_is_chosen() -> None:
    pytest.importorskip("bitsandbytes", reason="the peer to choose")
    chosen = choose_dequantizer("cuda", torch.bfloat16, 64)
    assert chosen.note is None
    assert chosen.dequantize is not dequantize_nf4


Peer = Callable[..., torch.Tensor]


@pytest.fixture
def choose_as_if_on_cuda(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[], Peer]], DequantizerChoice]:
    """Choose for a CUDA device whose tensors are on the CPU, with this for bitsandbytes."""

    def choose(load: Callable[[], Peer]) -> DequantizerChoice:
        monkeypatch.setattr(extras, "is_installed", lambda module: True)
        monkeypatch.setattr(nf4_backend, "bitsandbytes_dequantizer", load)
        monkeypatch.setattr(nf4_backend, "_serves", lambda _: True)
        return choose_dequantizer("cpu", torch.bfloat16, 128)

    return choose


def test_what_is_probed_is_what_the_plan_will_ask_for(
    choose_as_if_on_cuda: Callable[[Callable[[], Peer]], DequantizerChoice],
) -> None:
    asked = []

    def peer(quantized: Nf4Tensor, dtype: torch.dtype, out: torch.Tensor | None) -> torch.Tensor:
        asked.append((quantized.block_size, dtype, out is not None))
        return dequantize_nf4(quantized, dtype, out)

    assert choose_as_if_on_cuda(lambda: peer) == (peer, None)
    assert asked == [(128, torch.bfloat16, False), (128, torch.bfloat16, True)]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("compiled without support for this version of CUDA"),
        NotImplementedError("no kernel"),
        OSError("libcudart.so.12: cannot open shared object file"),
        AttributeError("'NoneType' object has no attribute 'cdequantize_blockwise_fp32_nf4'"),
        ImportError("cannot import name"),
        ValueError("block size 32 is not supported"),
    ],
)
@pytest.mark.parametrize("is_import", [True, False])
def test_a_broken_bitsandbytes_build_is_skipped_with_a_note(
    choose_as_if_on_cuda: Callable[[Callable[[], Peer]], DequantizerChoice],
    error: Exception,
    *,
    is_import: bool,
) -> None:
    def broken(*_: object) -> torch.Tensor:
        raise error

    chosen = choose_as_if_on_cuda(broken if is_import else lambda: broken)  # type: ignore[arg-type]  # it raises
    assert chosen.dequantize is dequantize_nf4
    assert chosen.note is not None
    assert type(error).__name__ in chosen.note


def test_a_build_that_gives_other_numbers_is_passed_over(
    choose_as_if_on_cuda: Callable[[Callable[[], Peer]], DequantizerChoice],
) -> None:
    def off(quantized: Nf4Tensor, dtype: torch.dtype, out: torch.Tensor | None) -> torch.Tensor:
        dense = dequantize_nf4(quantized, dtype, out)
        return dense if out is None else dense.neg_()

    chosen = choose_as_if_on_cuda(lambda: off)
    assert chosen.dequantize is dequantize_nf4
    assert chosen.note is not None
    assert "numbers differ" in chosen.note
