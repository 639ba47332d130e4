"""The Triton kernel gives the reference's numbers: interpreted on a CPU, compiled, and on a GPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from vox_tensor.nf4 import BLOCK_SIZES, dequantize_nf4, quantize_nf4

pytest.importorskip("triton", reason="Triton has wheels for Linux on x86-64 only")

INTERPRETED = Path(__file__).parent / "triton_interpreter.py"
HOPPER = 90


def test_every_case_equals_the_reference_in_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(INTERPRETED)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["differing"] == []
    assert said["compared"] == 252
    assert said["changed"] > 200, "quantising must change something"


@pytest.fixture(autouse=True)
def _own_cache_of_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("out", "is_nested"), [("*i16", True), ("*i16", False), ("*fp32", True), ("*fp16", False)]
)
def test_it_compiles_for_a_gpu_without_contracting_products_and_sums(
    out: str, *, is_nested: bool
) -> None:
    code = compiled(out, is_nested=is_nested)
    assert "mul.rn.f32" in code
    assert ("add.rn.f32" in code) == is_nested, "the mean is added to nested magnitudes"
    assert not re.search(r"\bfma\.|\.ftz", code)


def test_it_would_contract_them_if_it_were_allowed_to() -> None:
    assert re.search(r"\bfma\.", compiled("*fp32", is_nested=True, enable_fp_fusion=True))


def compiled(out: str, *, is_nested: bool, enable_fp_fusion: bool = False) -> str:
    """PTX of the kernel for blocks of 64; the compiler needs no GPU."""
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415 - it may be missing
    from triton.compiler import ASTSource, compile  # noqa: PLC0415 - it may be missing

    from vox_tensor.nf4_triton import unpack_nf4  # noqa: PLC0415 - it needs Triton

    fixed = {"S": 64, "B": 64, "GROUP": 256, "IS_NESTED": is_nested, "IS_BF16": out == "*i16"}
    types = {
        "codes": "*u8", "levels": "*fp32", "absmax": "*fp32", "scale_codes": "*u8",
        "scale_levels": "*fp32", "offset": "*fp32", "out": out,
        "n_values": "i32", "n_bytes": "i32", "n_blocks": "i32",
    }  # fmt: skip
    names: list[str] = unpack_nf4.arg_names
    signature = {name: types.get(name, "constexpr") for name in names}
    constants = {(names.index(name),): value for name, value in fixed.items()}
    source = ASTSource(unpack_nf4, signature, constexprs=constants)
    options = {"num_warps": 8, "enable_fp_fusion": enable_fp_fusion}
    made: Any = compile(source, target=GPUTarget("cuda", HOPPER, 32), options=options)
    return str(made.asm["ptx"])


@pytest.mark.gpu
@pytest.mark.parametrize("double_quant", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("block_size", BLOCK_SIZES)
def test_the_numbers_of_a_gpu_equal_the_reference(
    block_size: int, dtype: torch.dtype, *, double_quant: bool
) -> None:
    from vox_tensor.nf4_triton import dequantize_nf4_triton  # noqa: PLC0415 - it needs Triton

    weight = torch.randn(333, 517, generator=torch.Generator().manual_seed(1))
    quantized = quantize_nf4(weight, block_size=block_size, double_quant=double_quant)
    expected = dequantize_nf4(quantized, dtype)
    there = quantized.to("cuda")
    place = torch.zeros(weight.shape, dtype=dtype, device="cuda")
    assert dequantize_nf4_triton(there, dtype, place) is place
    assert torch.equal(place.cpu(), expected)
    assert torch.equal(dequantize_nf4(there, dtype).cpu(), expected)
    assert not torch.equal(expected, weight.to(dtype))


@pytest.mark.gpu
@pytest.mark.parametrize("double_quant", [True, False])
@pytest.mark.parametrize("block_size", BLOCK_SIZES)
def test_a_gpu_quantises_to_the_bytes_of_the_cpu(block_size: int, *, double_quant: bool) -> None:
    weight = torch.randn(1025, 1027, generator=torch.Generator().manual_seed(2))
    settings = {"block_size": block_size, "double_quant": double_quant}
    expected = quantize_nf4(weight, **settings)  # type: ignore[arg-type]  # an int and a bool
    found = quantize_nf4(weight.cuda(), **settings)  # type: ignore[arg-type]  # an int and a bool
    for mine, its in zip(found.tensors(), expected.tensors(), strict=True):
        assert torch.equal(mine.cpu(), its)
