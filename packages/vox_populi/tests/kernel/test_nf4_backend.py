"""The codes and the dense copies are the same, whatever makes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from vox_populi import extras
from vox_populi.kernel import nf4_backend
from vox_populi.kernel.nf4_backend import Nf4Backend, choose_nf4_backend
from vox_tensor.nf4 import BLOCK_SIZES, Nf4Tensor, dequantize_nf4, quantize_nf4

Peer = Callable[..., torch.Tensor]
Choose = Callable[[Callable[[], Peer]], Nf4Backend]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    choose_nf4_backend.cache_clear()
    yield
    choose_nf4_backend.cache_clear()


def test_torch_serves_every_device_but_cuda() -> None:
    for device in ("cpu", "mps"):
        assert choose_nf4_backend(device) == (dequantize_nf4, "cpu", ())


@pytest.fixture
def choose_as_if_on_cuda(monkeypatch: pytest.MonkeyPatch) -> Choose:
    """Choose for a CUDA device whose tensors are on the CPU, with this for Triton."""

    def choose(load: Callable[[], Peer]) -> Nf4Backend:
        monkeypatch.setattr(extras, "is_installed", lambda module: True)
        monkeypatch.setattr(nf4_backend, "triton_dequantizer", load)
        monkeypatch.setattr(nf4_backend, "_has_kernels", lambda _: True)
        return choose_nf4_backend("cpu", torch.bfloat16, 128)

    return choose


def test_without_triton_a_note_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nf4_backend, "_has_kernels", lambda _: True)
    monkeypatch.setattr(extras, "is_installed", lambda module: False)
    chosen = choose_nf4_backend("cpu")
    assert chosen.dequantize is dequantize_nf4
    assert ["not installed" in note for note in chosen.notes] == [True]


def test_what_is_tried_is_what_the_plan_will_ask_for(choose_as_if_on_cuda: Choose) -> None:
    asked = []

    def peer(quantized: Nf4Tensor, dtype: torch.dtype, out: torch.Tensor | None) -> torch.Tensor:
        asked.append((quantized.block_size, quantized.double_quant, dtype, out is not None))
        assert not any(t.is_meta for t in quantized.tensors())
        return dequantize_nf4(quantized, dtype, out)

    assert choose_as_if_on_cuda(lambda: peer) == (peer, "cpu", ())
    ways = [(nested, placed) for nested in (True, False) for placed in (False, True)]
    assert asked == [(128, nested, torch.bfloat16, placed) for nested, placed in ways]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("PTX was compiled for another GPU"),
        NotImplementedError("no kernel"),
        OSError("libcuda.so.1: cannot open shared object file"),
        AttributeError("module 'triton' has no attribute 'jit'"),
        ImportError("cannot import name"),
        ValueError("type fp8e4nv not supported in this architecture"),
    ],
)
@pytest.mark.parametrize("is_import", [True, False])
def test_a_broken_triton_is_skipped_with_a_note(
    choose_as_if_on_cuda: Choose, error: Exception, *, is_import: bool
) -> None:
    def broken(*_: object) -> torch.Tensor:
        raise error

    chosen = choose_as_if_on_cuda(broken if is_import else lambda: broken)  # type: ignore[arg-type]  # it raises
    assert chosen.dequantize is dequantize_nf4
    assert [type(error).__name__ in note for note in chosen.notes] == [True]


@pytest.mark.parametrize("wrong_is_placed", [True, False])
def test_a_kernel_that_gives_other_numbers_is_passed_over(
    choose_as_if_on_cuda: Choose, *, wrong_is_placed: bool
) -> None:
    def off(quantized: Nf4Tensor, dtype: torch.dtype, out: torch.Tensor | None) -> torch.Tensor:
        dense = dequantize_nf4(quantized, dtype, out)
        return dense.neg_() if (out is not None) == wrong_is_placed else dense

    chosen = choose_as_if_on_cuda(lambda: off)
    assert chosen.dequantize is dequantize_nf4
    assert ["numbers differ" in note for note in chosen.notes] == [True]


@pytest.mark.parametrize("double_quant", [True, False])
def test_a_device_that_quantises_otherwise_leaves_it_to_the_cpu(
    choose_as_if_on_cuda: Choose, monkeypatch: pytest.MonkeyPatch, *, double_quant: bool
) -> None:
    made: list[bool] = []

    def quantize(weight: torch.Tensor, **settings: int) -> Nf4Tensor:
        quantized = quantize_nf4(weight, **settings)  # type: ignore[arg-type]  # an int and a bool
        is_double = bool(settings.get("double_quant", True))
        made.append(is_double)
        # The first two are the reference's.
        if len(made) > 2 and is_double == double_quant:
            quantized.codes[-1] ^= 1
        return quantized

    monkeypatch.setattr(nf4_backend, "quantize_nf4", quantize)
    chosen = choose_as_if_on_cuda(lambda: dequantize_nf4)
    assert chosen.quantize_on == "cpu"
    assert ["the CPU quantises" in note for note in chosen.notes] == [True]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("block_size", BLOCK_SIZES)
def test_on_cuda_the_kernel_is_chosen_and_the_gpu_quantises(
    block_size: int, dtype: torch.dtype
) -> None:
    chosen = choose_nf4_backend("cuda", dtype, block_size)
    assert chosen.notes == ()
    assert chosen.dequantize is not dequantize_nf4
    assert chosen.quantize_on == "cuda"
