"""A process that is stopped and does not go on is ended; one that goes on is left alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from vox_populi.operator_messages import ranks as say
from vox_populi.pipeline.stopped_run import RankKilledError
from vox_populi.pipeline.stopped_watch import LOOKS_UNTIL_KILLED, StoppedWatch

pytestmark = pytest.mark.skipif(not hasattr(os, "waitid"), reason="needs waitid")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits until it is ended."""
    process = subprocess.Popen([sys.executable, "-Sc", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


def stop(child: subprocess.Popen[bytes]) -> None:
    """Stop it, and wait until it is; its state is left for others to ask."""
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)


@pytest.mark.any_install
def test_a_process_that_stays_stopped_is_ended(child: subprocess.Popen[bytes]) -> None:
    watch = StoppedWatch()
    watch.look()
    stop(child)
    for _ in range(LOOKS_UNTIL_KILLED - 1):
        watch.look()
    assert watch.killed == []
    assert child.poll() is None
    watch.look()
    assert watch.killed == [child.pid]
    assert child.wait(timeout=60) == -signal.SIGKILL


@pytest.mark.any_install
def test_looks_are_counted_anew_when_it_went_on(child: subprocess.Popen[bytes]) -> None:
    watch = StoppedWatch()
    for _ in range(2):
        stop(child)
        for _ in range(LOOKS_UNTIL_KILLED - 1):
            watch.look()
        child.send_signal(signal.SIGCONT)
        os.waitid(os.P_PID, child.pid, os.WCONTINUED)
        watch.look()
    assert watch.killed == []
    assert child.poll() is None


def test_the_operator_hears_that_it_was_stopped() -> None:
    error = RankKilledError(1, signal.SIGKILL, is_stopped=True)
    assert error.problems == (say.rank_stopped(1, 137),)
    assert error.exit_code == 137
    assert RankKilledError(1, signal.SIGKILL).problems[0].code == "MENS-R201"
