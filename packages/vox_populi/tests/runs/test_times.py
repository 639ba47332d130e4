"""Clocks live in one file, and `SOURCE_DATE_EPOCH` stops them."""

from __future__ import annotations

import pytest

from vox_populi.runs.times import RunTimes


def test_stages_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 2.0, 5.0, 5.5])
    monkeypatch.setattr("vox_populi.runs.times.time.perf_counter", lambda: next(ticks))
    times = RunTimes()
    with times.measure("train"):
        pass
    with times.measure("save"):
        pass
    document = times.as_json(tokens=100, peak_memory_bytes=0)
    assert document["seconds"] == {"train": 2.0, "save": 0.5}
    assert document["tokens_per_second"] == 50.0
    assert document["peak_memory_bytes"] is None


def test_source_date_epoch_fixes_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    document = RunTimes().as_json(tokens=0, peak_memory_bytes=7)
    assert document["started_at"] == document["ended_at"] == "1970-01-01T00:00:00+00:00"
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    assert RunTimes().as_json(tokens=0, peak_memory_bytes=7)["started_at"] != document["started_at"]
