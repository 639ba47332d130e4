"""Giving the first process's state of the engine to all others, to the last bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from torch import Tensor

from vox_populi.train.engine import Engine
from vox_populi.train.engine_state import EngineState
from vox_populi.train.outcome import Evaluation
from vox_populi.train.process_group import GroupRanks

_TENSORS = ("adapter", "optimizer", "streams", "best_adapter")
"""Fields that hold tensors by name; all others are numbers and text."""


def share_state(engine: Engine, group: GroupRanks) -> None:
    """Put the state of the first process's engine into the engine of every process."""
    state = engine.state()
    numbers = group.tell(_numbers(state))
    tensors = group.tell_tensors(_tensors(state))
    if group.rank != 0:
        engine.restore(_state(numbers, tensors))


def _numbers(state: EngineState) -> dict[str, object]:
    plain = {f.name: getattr(state, f.name) for f in fields(state) if f.name not in _TENSORS}
    best = state.best
    plain["evaluations"] = [[each.step, each.loss] for each in state.evaluations]
    plain["best"] = None if best is None else [best.step, best.loss]
    return plain


def _tensors(state: EngineState) -> dict[str, Tensor]:
    return {
        f"{kind}/{name}": tensor
        for kind in _TENSORS
        for name, tensor in (getattr(state, kind) or {}).items()
    }


def _state(numbers: Mapping[str, object], tensors: Mapping[str, Tensor]) -> EngineState:
    values = dict(numbers)
    evaluations, best = values.pop("evaluations"), values.pop("best")
    assert isinstance(evaluations, list)
    assert best is None or isinstance(best, list)
    held = {
        kind: {
            name.removeprefix(f"{kind}/"): each
            for name, each in tensors.items()
            if name.startswith(f"{kind}/")
        }
        for kind in _TENSORS
    }
    return EngineState(
        adapter=held["adapter"],
        optimizer=held["optimizer"],
        streams=held["streams"],
        best_adapter=held["best_adapter"] or None,
        best=None if best is None else Evaluation(*best),
        evaluations=tuple(Evaluation(*each) for each in evaluations),
        **values,  # type: ignore[arg-type] # as `_numbers` made them
    )
