"""Which of several failing processes speaks, and which waits to be ended."""

from __future__ import annotations

import signal

import pytest

from vox_populi.errors import PeerLostError, PlanError
from vox_populi.operator_messages import ranks as say
from vox_populi.pipeline import rank_failure
from vox_populi.pipeline.rank_place import RankPlace
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_tensor.errors import VoxError

FIRST, OTHER = RankPlace(size=2), RankPlace(rank=1, size=2)
OWN = PlanError(say.requests_differ(["data"], 1))
LOST, TOLD = PeerLostError(say.peer_lost("gone")), PeerLostError(say.peer_lost("gone"))
TOLD.is_told = True
STOPPED = RunInterruptedError(signal.SIGTERM, 3)


@pytest.mark.parametrize(
    ("place", "error", "waited"),
    [
        (FIRST, OWN, None),
        (OTHER, OWN, rank_failure.SECONDS_FOR_THE_FIRST),
        (FIRST, LOST, rank_failure.SECONDS_FOR_THE_CAUSE),
        (OTHER, LOST, rank_failure.SECONDS_FOR_THE_CAUSE),
        (OTHER, TOLD, None),
        (FIRST, STOPPED, None),
        (OTHER, STOPPED, rank_failure.SECONDS_TO_SAY_IT),
    ],
)
def test_who_waits(
    monkeypatch: pytest.MonkeyPatch, place: RankPlace, error: VoxError, waited: float | None
) -> None:
    waits: list[float] = []
    handlers: list[object] = []

    def wait(event: object, seconds: float) -> None:
        waits.append(seconds)
        handlers.append(signal.getsignal(signal.SIGTERM))

    monkeypatch.setattr("threading.Event.wait", wait)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(type(error)), rank_failure.ending_with_the_others(place):
        raise error
    assert waits == ([] if waited is None else [waited])
    assert handlers == ([] if waited is None else [signal.SIG_DFL]), "ended without a word"
    assert signal.getsignal(signal.SIGTERM) is before
