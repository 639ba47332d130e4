"""The fused kernels compute what torch's operations do: interpreted, compiled, and on a GPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional as F

from vox_tensor import fused_kernels
from vox_tensor.fused_kernels import fused, why_not_fused
from vox_tensor.fused_parts import MODULE_OF, FusedPart, NormRule
from vox_tensor.fused_trial import trial_of

INTERPRETED = Path(__file__).parent / "fused_interpreter.py"
CPU = torch.device("cpu")
HOPPER = 90

APART = {"bfloat16": 0.01, "float16": 0.002, "float32": 2e-5}
"""Over one plus the value: where a sum or an exponential differs in its last bit, one rounding to
the dtype in a hundred may go the other way, and the roundings behind it follow."""
EQUAL = {"bfloat16": 0.9, "float16": 0.9}
"""Share of the values that are the same bit for bit; GELU's functions differ most."""


def needs_triton() -> None:
    """Skip where Triton has no wheel."""
    pytest.importorskip("triton", reason="Triton has wheels for Linux on x86-64 only")


def test_every_kernel_computes_what_torch_does_in_the_interpreter() -> None:
    needs_triton()
    done = subprocess.run(
        [sys.executable, "-W", "error", str(INTERPRETED)],
        env={**os.environ, "TRITON_INTERPRET": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["differing_trials"] == 0
    assert said["shows_what_is_not_finite"]
    cases = said["apart"]
    assert len(cases) == 13 * len(APART), "of everything forward and backward, in every dtype"
    for case, found in cases.items():
        kind, _, dtype = case.rpartition(", ")
        assert found["worst"] <= APART[dtype], case
        if kind == "rotation":
            assert found["equal"] == found["compared"], "products and sums alone are exact"
        elif kind != "loss" and dtype in EQUAL:
            assert found["equal"] >= EQUAL[dtype] * found["compared"], case


@pytest.fixture(autouse=True)
def _own_cache_of_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


TILE = {"R": 32, "B": 128}
TURN = {"HAS_NORM": True, "IS_WIDE": False, "IS_BACK": True, "HAS_REST": True, **TILE}
LOSS = {"HAS_WEIGHTS": True, "WANTS_GRADIENT": True, "B": 8192}


@pytest.mark.parametrize(
    ("kernel", "fixed"),
    [
        ("norm_triton.norm_rows", {"IS_WIDE": False, **TILE}),
        ("norm_triton.norm_rows_back", TILE),
        ("norm_triton.turn_heads", TURN),
        ("norm_triton.turn_normed_heads_back", TILE),
        ("gate_triton.gate_rows", {"KIND": "silu", "B": 2048}),
        ("gate_triton.gate_rows_back", {"KIND": "gelu_tanh", "B": 2048}),
        ("loss_triton.loss_of_row", LOSS),
    ],
)
def test_it_compiles_for_a_gpu_with_wide_loads(kernel: str, fixed: dict[str, object]) -> None:
    needs_triton()
    code = compiled(kernel, fixed)
    assert re.search(r"ld\.global\S*\.v4", code)
    assert re.search(r"st\.global\S*\.v4", code)
    # A logarithm is made of multiply-adds; ours would change what is rounded.
    assert ("loss" in kernel) == bool(re.search(r"\bfma\.", code))


def compiled(name: str, fixed: dict[str, object]) -> str:
    """PTX of a kernel in bf16; the compiler needs no GPU."""
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415 - it may be missing
    from triton.compiler import ASTSource, compile  # noqa: PLC0415 - it may be missing

    module, _, kernel_name = name.partition(".")
    kernel = getattr(import_module(f"vox_tensor.{module}"), kernel_name)
    types = {"cos": "*fp32", "sin": "*fp32", "losses": "*fp32", "weights": "*fp32"}
    types |= {"targets": "*i64", "eps": "fp32", "centre": "fp32"}
    tensors = ("g", "x", "weight", "out", "dx", "dh", "u", "up", "du", "dup", "logits")
    types |= dict.fromkeys(tensors, "*bf16")
    names: list[str] = kernel.arg_names
    signature = {n: "constexpr" if n in fixed else types.get(n, "i32") for n in names}
    constants = {(names.index(n),): value for n, value in fixed.items()}
    unaligned = {*fixed, "eps", "centre", "n_rows"}
    aligned = {(i,): [["tt.divisibility", 16]] for i, n in enumerate(names) if n not in unaligned}
    source = ASTSource(kernel, signature, constexprs=constants, attrs=aligned)
    options = {"num_warps": 8, "enable_fp_fusion": False}
    made: Any = compile(source, target=GPUTarget("cuda", HOPPER, 32), options=options)
    return str(made.asm["ptx"])


def test_a_cpu_keeps_torchs_operations() -> None:
    for part in FusedPart:
        assert fused(part, torch.ones(2, 2)) is None
        assert why_not_fused(part, CPU, torch.float32) is not None


def definition_of_norm(*, is_right: bool) -> SimpleNamespace:
    """A module of kernels for one part, in torch's operations."""

    def rms_norm(x: torch.Tensor, weight: torch.Tensor, rule: NormRule) -> torch.Tensor:
        scale = weight.float() + rule.centre
        return F.rms_norm(x.float(), x.shape[-1:], scale, rule.eps).to(x.dtype)

    def backward(
        g: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, rule: NormRule
    ) -> torch.Tensor:
        leaf = x.detach().requires_grad_()
        (rms_norm(leaf, weight, rule) * g).sum().backward()
        assert leaf.grad is not None
        return leaf.grad if is_right else leaf.grad * float("nan")

    return SimpleNamespace(rms_norm=rms_norm, rms_norm_backward=backward)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_trial_tells_right_kernels_from_wrong_ones(dtype: torch.dtype) -> None:
    right, wrong = (definition_of_norm(is_right=is_right) for is_right in (True, False))
    assert not trial_of(FusedPart.NORM, right, CPU, dtype)
    assert trial_of(FusedPart.NORM, wrong, CPU, dtype)


def test_a_trial_leaves_nothing_to_the_hooks_of_the_pass_that_asks() -> None:
    asked: list[torch.Tensor] = []
    with saved_tensors_hooks(asked.append, lambda _: torch.zeros(())):
        assert not trial_of(FusedPart.NORM, definition_of_norm(is_right=True), CPU, torch.float32)
    assert asked == []


def fails(module: str) -> object:
    """A Triton for another Python."""
    message = f"{module}: no such library\nand more"
    raise ImportError(message)


@pytest.mark.parametrize(
    ("load", "dtype", "reason"),
    [
        (lambda _: definition_of_norm(is_right=True), torch.float32, None),
        (lambda _: definition_of_norm(is_right=False), torch.float32, "numbers"),
        (lambda _: SimpleNamespace(), torch.float32, "AttributeError"),
        (fails, torch.float32, "ImportError: vox_tensor.norm_triton: no such library"),
        (fails, torch.float64, "float64"),
    ],
)
def test_what_fails_its_trial_is_left_to_torch(
    load: Callable[[str], object],
    dtype: torch.dtype,
    reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fused_kernels, "imported", load)
    fused_kernels._tried.cache_clear()
    kernels, said = fused_kernels._tried(FusedPart.NORM, CPU, dtype)
    fused_kernels._tried.cache_clear()
    assert (kernels is None) == (reason is not None)
    assert said is None if reason is None else reason in str(said)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("part", list(FusedPart))
def test_a_gpu_takes_every_kernel(part: FusedPart, dtype: torch.dtype) -> None:
    assert why_not_fused(part, torch.device("cuda"), dtype) is None
    assert fused(part, torch.ones(1, dtype=dtype, device="cuda")) is not None
    assert MODULE_OF[part] in sys.modules or f"vox_tensor.{MODULE_OF[part]}" in sys.modules
