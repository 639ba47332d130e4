"""A trial tells a device that computes from one that does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

from vox_populi.pipeline import device_trial
from vox_populi.pipeline.device_trial import step_failure


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    step_failure.cache_clear()
    yield
    step_failure.cache_clear()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_cpu_agrees_with_itself(dtype: str) -> None:
    assert step_failure("cpu", dtype) is None


def test_a_device_that_cannot_be_computed_on_is_told_by_its_error() -> None:
    # torch's meta device has shapes and no values.
    failure = step_failure("meta")
    assert failure is not None
    assert ":" in failure


@pytest.mark.parametrize("factor", [1.01, float("nan")])
def test_wrong_numbers_are_found(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    numbers = device_trial._numbers("cpu", "float32")
    answers = iter([[*numbers[:-1], numbers[-1] * factor + 1], numbers])
    monkeypatch.setattr(device_trial, "_numbers", lambda *_: next(answers))
    failure = step_failure("cpu")
    assert failure is not None
    assert "differ" in failure


def test_three_steps_lower_the_loss() -> None:
    losses = device_trial._numbers("cpu", "float32")[:6:2]
    assert losses[0] > losses[1] > losses[2]
