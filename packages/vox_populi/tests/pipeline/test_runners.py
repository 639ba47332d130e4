from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from vox_populi import extras
from vox_populi.errors import EnvironmentFailure
from vox_populi.pipeline import runners

MIB = 2**20


def limited(limit: int) -> SimpleNamespace:
    """The module `resource` on a machine with `ulimit -v`."""
    return SimpleNamespace(
        RLIMIT_AS=9, RLIM_INFINITY=-1, getrlimit=lambda kind: (limit, -1) if kind == 9 else (0, 0)
    )


@pytest.mark.parametrize("limit", [100 * MIB, 1100 * MIB])
def test_too_little_address_space_for_torch_is_refused_before_it_is_loaded(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(extras, "is_installed", lambda module: True)
    monkeypatch.setattr(extras, "load", loaded.append)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(runners, "_mapped_bytes", lambda: 400 * MIB)
    monkeypatch.setattr(runners, "resource", limited(limit))
    with pytest.raises(EnvironmentFailure, match="MENS-E091"):
        runners.load_runner("train_run")
    assert loaded == []


@pytest.mark.parametrize("limit", [-1, 1200 * MIB])
def test_enough_or_unlimited_address_space_loads_the_runner(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(extras, "is_installed", lambda module: True)
    monkeypatch.setattr(extras, "load", loaded.append)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(runners, "_mapped_bytes", lambda: 400 * MIB)
    monkeypatch.setattr(runners, "resource", limited(limit))
    runners.load_runner("train_run")
    assert loaded == ["vox_populi.pipeline.train_run"]
