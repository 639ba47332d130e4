"""Parts of `gpu_check.py` that measure kernels: products, copies, NF4, attention."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from typing import Any

import torch
from gpu_place import Place, seconds_of
from torch import Tensor, nn

from vox_populi.kernel.nf4_backend import choose_nf4_backend
from vox_tensor.nf4 import Nf4Tensor, dequantize_nf4, quantize_nf4
from vox_tensor.segment_attention import sdpa_segments, segment_attention
from vox_tensor.varlen_attention import why_no_varlen


def environment(place: Place) -> dict[str, Any]:
    """Versions, and the rates that everything else is a share of."""
    found = {name: _version(name) for name in ("torch", "triton", "transformers", "peft")}
    found["python"] = platform.python_version()
    size, n_bytes = (8192, 2**32) if place.device.type == "cuda" else (64, 2**16)
    a, b = (torch.randn(size, size, device=place.device, dtype=place.dtype) for _ in range(2))
    source = torch.empty(n_bytes, dtype=torch.uint8, device=place.device)
    target = torch.empty_like(source)
    name = torch.cuda.get_device_name() if place.device.type == "cuda" else platform.machine()
    return {
        "device": name,
        "versions": found,
        "gemm_flops": 2.0 * size**3 / seconds_of(lambda: nn.functional.linear(a, b), place),
        "copy_bytes_per_s": 2.0 * n_bytes / seconds_of(lambda: target.copy_(source), place),
    }


def nf4(place: Place) -> dict[str, Any]:
    """Whether a GPU gives the CPU's bytes, and how fast it unpacks and quantises."""
    shape = (64, 192) if place.is_tiny else (4096, 12_288)
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(place.dtype)
    there, out = weight.to(place.device), torch.empty_like(weight, device=place.device)
    backend = choose_nf4_backend(str(place.device), place.dtype)
    result: dict[str, Any] = {
        "dequantizer": backend.dequantize.__name__,
        "quantises_on": backend.quantize_on,
        "notes": backend.notes,
    }
    for kind, nested in (("double", True), ("single", False)):
        on_cpu = quantize_nf4(weight, double_quant=nested)
        packed = quantize_nf4(there, double_quant=nested)
        dense = backend.dequantize(packed, place.dtype, out)
        quantise = partial(quantize_nf4, there, double_quant=nested)
        result[kind] = {
            "same_codes": _same(packed, on_cpu),
            "same_dense": torch.equal(dense.cpu(), dequantize_nf4(on_cpu, place.dtype)),
            "quantised_values_per_s": weight.numel() / seconds_of(quantise, place),
        }
        moved = packed.n_bytes + out.numel() * out.element_size()
        for way, unpack in (("chosen", backend.dequantize), ("torch", dequantize_nf4)):
            taken = seconds_of(partial(unpack, packed, place.dtype, out), place)
            result[kind][f"{way}_bytes_per_s"] = moved / taken
    return result


def _same(found: Nf4Tensor, expected: Nf4Tensor) -> bool:
    pairs = zip(found.tensors(), expected.tensors(), strict=True)
    return all(torch.equal(ours.cpu(), cpus) for ours, cpus in pairs)


def attention(place: Place) -> dict[str, Any]:
    """Forward and backward of attention over a pack: what is chosen, and segment by segment."""
    heads, groups, dim = _heads(place)
    result: dict[str, Any] = {
        "objection": why_no_varlen(place.device, place.dtype, dim, heads // groups)
    }
    for label, lengths in _layouts(place).items():
        offsets, qkv = _pack(place, lengths)
        work = 6.0 * heads * dim * sum(n * n for n in lengths)
        for kind, window in (("causal", None), ("window", lengths[0] // 2)):
            for way, attend in (("chosen", _chosen), ("loop", sdpa_segments)):
                taken = seconds_of(partial(_both_ways, attend, qkv, offsets, window), place)
                case = f"{label} {kind} {way}"
                result[case] = {"seconds": taken, "causal_flops": work / taken}
    return result


def _heads(place: Place) -> tuple[int, int, int]:
    """Query heads, key/value heads and their features."""
    return (4, 2, 32) if place.is_tiny else (32, 8, 128)


def _layouts(place: Place) -> dict[str, list[int]]:
    """Lengths of the rows of a pack."""
    size = 128 if place.is_tiny else 16_384
    return {
        "even": [size // 8] * 8,
        "ragged": [max(1, n * size // 4096) for n in (60, 96, 200, 340, 512, 1024, 1864)],
        "short": [size // 64] * 64,
    }


def _pack(place: Place, lengths: Sequence[int]) -> tuple[tuple[int, ...], tuple[Tensor, ...]]:
    """Borders of the rows; queries, keys and values."""
    heads, groups, dim = _heads(place)
    offsets = tuple(accumulate(lengths, initial=0))
    qkv = tuple(
        torch.randn(offsets[-1], n, dim, device=place.device, dtype=place.dtype)
        for n in (heads, groups, groups)
    )
    return offsets, qkv


def _chosen(
    q: Tensor, k: Tensor, v: Tensor, offsets: Sequence[int], scale: float, window: int | None
) -> Tensor:
    return segment_attention(q, k, v, offsets, scale=scale, window=window)


def _both_ways(
    attend: Any, qkv: tuple[Tensor, ...], offsets: Sequence[int], window: int | None
) -> tuple[Tensor, ...]:
    """Output and gradients."""
    leaves = [t.detach().requires_grad_() for t in qkv]
    out = attend(*leaves, offsets, leaves[0].shape[-1] ** -0.5, window)
    return (out.detach(), *torch.autograd.grad(out, leaves, out.detach()))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
