from __future__ import annotations

from dataclasses import replace

import pytest

from vox_populi.contract.choices import ComputeDtype, DeviceKind
from vox_populi.contract.setting_groups import ComputeSettings
from vox_populi.plan.device_choice import (
    MachineFacts,
    choose_device,
    device_problems,
    thread_problems,
)

UNKNOWN = MachineFacts(n_cpus=2)
BARE = MachineFacts(n_cpus=2, has_cuda=False, has_mps=False, memory_bytes=100)
MAC = MachineFacts(n_cpus=2, has_cuda=False, has_mps=True, memory_bytes=100, metal_memory_bytes=75)
BAD_MAC = replace(MAC, metal_failure="TypeError: no float64")
GPU = MachineFacts(
    n_cpus=2,
    has_cuda=True,
    has_mps=False,
    memory_bytes=100,
    device_memory_bytes=50,
    has_bf16=True,
)
BUSY_GPU = replace(GPU, device_memory_bytes=None, cuda_failure="CUDA error: busy")
OLD_GPU = MachineFacts(n_cpus=2, has_cuda=True, has_mps=False, has_bf16=False)


@pytest.mark.parametrize(
    ("machine", "wanted", "expected"),
    [
        (BARE, DeviceKind.BEST, ("cpu", "float32", 100)),
        (MAC, DeviceKind.BEST, ("mps", "float32", 75)),
        (MAC, DeviceKind.METAL, ("mps", "float32", 75)),
        (GPU, DeviceKind.BEST, ("cuda", "bfloat16", 50)),
        (GPU, DeviceKind.CPU, ("cpu", "float32", 100)),
    ],
)
def test_the_best_device_and_its_usual_dtype(
    machine: MachineFacts,
    wanted: DeviceKind,
    expected: tuple[str, str, int],
) -> None:
    chosen = choose_device(ComputeSettings(device=wanted), machine)
    assert (chosen.device, chosen.compute_dtype, chosen.memory_bytes) == expected
    assert chosen.notes == ()


@pytest.mark.parametrize(
    ("machine", "word"), [(BAD_MAC, "metal: TypeError"), (BUSY_GPU, "cuda: CUDA error")]
)
def test_best_skips_a_device_that_failed_and_says_why(machine: MachineFacts, word: str) -> None:
    chosen = choose_device(ComputeSettings(), machine)
    assert (chosen.device, chosen.memory_bytes) == ("cpu", 100)
    assert len(chosen.notes) == 1
    assert word in chosen.notes[0]


def test_metal_that_is_named_is_taken_at_the_operators_word() -> None:
    assert not list(device_problems(DeviceKind.METAL, BAD_MAC))
    chosen = choose_device(ComputeSettings(device=DeviceKind.METAL), BAD_MAC)
    assert (chosen.device, chosen.notes) == ("mps", ())


def test_a_named_cuda_device_that_cannot_be_used_is_refused() -> None:
    (problem,) = device_problems(DeviceKind.CUDA, BUSY_GPU)
    assert (problem.code, problem.where) == ("MENS-P040", "--device")
    assert "busy" in problem.what


def test_without_torch_best_is_the_cpu_and_says_why() -> None:
    chosen = choose_device(ComputeSettings(), UNKNOWN)
    assert (chosen.device, chosen.compute_dtype) == ("cpu", "float32")
    assert len(chosen.notes) == 1


def test_a_named_device_is_planned_for_where_nobody_could_look() -> None:
    chosen = choose_device(ComputeSettings(device=DeviceKind.CUDA), UNKNOWN)
    assert (chosen.device, len(chosen.notes)) == ("cuda", 1)
    assert not list(device_problems(DeviceKind.CUDA, UNKNOWN))


def test_a_named_device_must_be_there() -> None:
    (problem,) = device_problems(DeviceKind.CUDA, MAC)
    assert (problem.code, problem.where) == ("MENS-P007", "--device")
    assert not list(device_problems(DeviceKind.METAL, MAC))
    assert not list(device_problems(DeviceKind.BEST, BARE))


def test_dtypes_that_were_asked_for_win() -> None:
    f32 = choose_device(ComputeSettings(dtype=ComputeDtype.F32), GPU)
    bf16 = choose_device(ComputeSettings(dtype=ComputeDtype.BF16), BARE)
    assert (f32.compute_dtype, f32.notes) == ("float32", ())
    assert bf16.compute_dtype == "bfloat16"
    assert "--dtype bf16" in bf16.notes[0]


def test_a_gpu_without_bf16_computes_in_f32_and_says_so() -> None:
    chosen = choose_device(ComputeSettings(), OLD_GPU)
    assert (chosen.device, chosen.compute_dtype, len(chosen.notes)) == ("cuda", "float32", 1)


@pytest.mark.parametrize(("threads", "codes"), [(None, []), (2, []), (3, ["MENS-C020"])])
def test_more_threads_than_cores_are_refused(threads: int | None, codes: list[str]) -> None:
    assert [problem.code for problem in thread_problems(threads, 2)] == codes
