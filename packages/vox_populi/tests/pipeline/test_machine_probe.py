"""What is said about the machine, and that nobody imports torch to say it where no GPU can be."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vox_populi import extras
from vox_populi.contract.choices import ComputeDtype, DeviceKind
from vox_populi.pipeline import machine_probe
from vox_populi.pipeline.machine_probe import probe_machine


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(machine_probe, "_GPU_TRACES", (str(tmp_path / "absent"),))


@pytest.mark.usefixtures("no_gpu")
def test_without_a_driver_there_is_no_gpu_and_torch_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extras, "load", lambda _: pytest.fail("imported torch"))
    facts = probe_machine()
    assert (facts.has_cuda, facts.has_mps, facts.device_memory_bytes) == (False, False, None)
    assert facts.n_cpus >= 1


GIB = 2**30


class FakeCuda:
    """Two devices; the second is the current one, half taken by another program."""

    def __init__(self, *, is_available: bool = True, is_busy: bool = False) -> None:
        self.is_available = lambda: is_available
        self.is_busy = is_busy

    def current_device(self) -> int:
        return 1

    def mem_get_info(self, index: int) -> tuple[int, int]:
        if self.is_busy:
            message = "CUDA error: all devices are busy\nmore"
            raise RuntimeError(message)
        return [(9 * GIB, 10 * GIB), (5 * GIB, 10 * GIB)][index]

    def is_bf16_supported(self, *, including_emulation: bool = True) -> bool:
        return including_emulation


def fake_torch(
    monkeypatch: pytest.MonkeyPatch, cuda: FakeCuda, *, mps: bool = False, failure: str = ""
) -> list[tuple[str, str]]:
    """Replace torch, and the trial of Metal; gives the trials that were made."""
    trials: list[tuple[str, str]] = []

    def step_failure(device: str, dtype: str) -> str | None:
        trials.append((device, dtype))
        return failure or None

    modules = {
        "torch": SimpleNamespace(
            cuda=cuda,
            backends=SimpleNamespace(mps=SimpleNamespace(is_available=lambda: mps)),
            mps=SimpleNamespace(recommended_max_memory=lambda: 12 * GIB),
        ),
        "vox_populi.pipeline.device_trial": SimpleNamespace(step_failure=step_failure),
    }
    monkeypatch.setattr(extras, "is_installed", lambda _: True)
    monkeypatch.setattr(extras, "load", modules.__getitem__)
    return trials


@pytest.mark.usefixtures("no_gpu")
def test_a_gpu_that_is_named_is_asked_of_torch_without_a_trace_of_a_driver(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_torch(monkeypatch, FakeCuda())
    assert probe_machine(DeviceKind.CUDA).has_cuda is True
    assert probe_machine(DeviceKind.BEST).has_cuda is False
    monkeypatch.setattr(extras, "is_installed", lambda _: False)
    assert probe_machine(DeviceKind.CUDA).has_cuda is False


def test_for_the_cpu_nobody_looks_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_probe, "_may_have_gpu", lambda: True)
    monkeypatch.setattr(extras, "load", lambda _: pytest.fail("imported torch"))
    assert probe_machine(DeviceKind.CPU).has_cuda is None


def test_memory_is_what_is_free_on_the_device_that_will_compute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_torch(monkeypatch, FakeCuda())
    facts = probe_machine(DeviceKind.CUDA)
    assert (facts.device_memory_bytes, facts.cuda_failure) == (5 * GIB, None)
    assert facts.has_bf16 is False, "emulation does not count"


def test_a_busy_device_is_there_and_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torch(monkeypatch, FakeCuda(is_busy=True))
    facts = probe_machine(DeviceKind.CUDA)
    assert (facts.has_cuda, facts.device_memory_bytes) == (True, None)
    assert facts.cuda_failure == "CUDA error: all devices are busy"


@pytest.mark.parametrize("failure", ["", "TypeError: no float64"])
def test_metal_is_tried_out_for_best_and_only_then(
    monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    monkeypatch.setattr(machine_probe, "_may_have_gpu", lambda: True)
    trials = fake_torch(monkeypatch, FakeCuda(is_available=False), mps=True, failure=failure)
    named = probe_machine(DeviceKind.METAL)
    assert (named.has_mps, named.metal_failure, trials) == (True, None, [])
    assert named.metal_memory_bytes == 12 * GIB
    best = probe_machine(DeviceKind.BEST, ComputeDtype.BF16)
    assert best.metal_failure == (failure or None)
    assert trials == [("mps", "bfloat16")]
    probe_machine(DeviceKind.BEST)
    assert trials[-1] == ("mps", "float32")


def test_where_a_gpu_may_be_and_torch_is_not_nobody_knows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine_probe, "_GPU_TRACES", (str(tmp_path),))
    monkeypatch.setattr(extras, "is_installed", lambda _: False)
    facts = probe_machine()
    assert (facts.has_cuda, facts.has_mps) == (None, None)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(("limit", "counts"), [("1048576\n", True), ("max\n", False), ("", False)])
def test_a_container_limit_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: str, counts: bool
) -> None:
    file = tmp_path / "memory.max"
    file.write_text(limit, encoding="ascii")
    monkeypatch.setattr(machine_probe, "_CGROUP_LIMITS", (str(file),))
    assert (probe_machine().memory_bytes == 1048576) is counts
