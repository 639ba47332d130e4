"""Processes that really die: `kill_loop.py --kills 20` is the same with more of them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests_integration.tier_c.kill_loop import stop_and_go_on


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("number", "backend", "kills"),
    [
        (signal.SIGKILL, "lora", 2),
        (signal.SIGTERM, "lora", 1),
        (signal.SIGKILL, "qlora", 2),
    ],
)
@pytest.mark.requirement("tier-c")
def test_a_resumed_run_ends_in_the_bytes_of_an_uninterrupted_one(
    tmp_path: Path, number: signal.Signals, backend: str, kills: int
) -> None:
    tally = stop_and_go_on(tmp_path, kills, number, seed=int(number), backend=backend)
    assert tally.wrong == []
    assert tally.equal == tally.rounds == kills
