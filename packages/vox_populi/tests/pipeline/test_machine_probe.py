"""What is said about the machine, and that nobody imports torch to say it where no GPU can be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vox_populi import extras
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
