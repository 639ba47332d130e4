"""Signals become requests; handlers are put back; outside the main thread nothing happens."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from packages.vox_populi.tests.pipeline.conftest import HANGUP
from vox_populi.pipeline.interruption import stop_on_signals
from vox_populi.pipeline.stopped_run import RunInterruptedError

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@pytest.mark.usefixtures("hangup_counts")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (HANGUP, 129)]
)
def test_the_first_signal_is_a_request(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as request:
        assert not request()
        assert signal.getsignal(number) is not before, "or the signal would end the tests"
        signal.raise_signal(number)
        assert request()
    assert signal.getsignal(number) is before
    error = RunInterruptedError(number, 3)
    assert error.exit_code == code
    assert number.name in str(error)
    assert "after step 3" in str(error)


def test_a_caller_can_ask_a_run_to_stop_as_a_signal_does() -> None:
    wishes = iter([False, True, False])
    with stop_on_signals(should_stop=lambda: next(wishes)) as request:
        assert [request(), request(), request()] == [False, True, True]
        assert request.signal_number is signal.SIGINT


def test_handlers_come_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    during = []

    def fail() -> None:
        with stop_on_signals():
            during.append(signal.getsignal(signal.SIGTERM))
            message = "broken"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert during != [before]
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_there_is_no_handler_and_no_error() -> None:
    seen: list[bool] = []

    def work() -> None:
        with stop_on_signals() as request:
            seen.append(request())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]


def long_call() -> None:
    """Seconds in C, without the interpreter's lock, as in a backward pass: no handler can run."""
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 3_000_000)


@pytest.mark.any_install
def test_a_signal_is_acknowledged_while_the_main_thread_is_busy() -> None:
    told: list[tuple[str, bool]] = []
    is_busy = threading.Event()

    def interrupt() -> None:
        is_busy.wait()
        os.kill(os.getpid(), signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with stop_on_signals(lambda text: told.append((text, is_busy.is_set()))) as request:
        is_busy.set()
        long_call()
        is_busy.clear()
        assert request()
    interrupter.join()
    assert [was_busy for _, was_busy in told] == [True]
    assert "Ctrl-C" in told[0][0]
    assert signal.set_wakeup_fd(-1) == -1, "what was before is back"


TWICE = """
import hashlib, os, signal, threading
from vox_populi.pipeline.interruption import stop_on_signals
acknowledged = threading.Event()
def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    acknowledged.wait()
    os.kill(os.getpid(), signal.SIGINT)
with stop_on_signals(lambda text: acknowledged.set()):
    threading.Thread(target=interrupt).start()
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2**31 - 1)
"""


QUIETLY_TWICE = """
import os, signal
from vox_populi.pipeline.interruption import stop_on_signals
with stop_on_signals():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT, signal.SIGTERM])
    while True:
        signal.pause()
"""


@pytest.mark.any_install
@pytest.mark.parametrize(("program", "code"), [(TWICE, 130), (QUIETLY_TWICE, 143)])
def test_a_second_signal_ends_a_process_and_says_nothing(program: str, code: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, timeout=60, capture_output=True
    )
    assert done.returncode == code
    assert done.stderr == b""


@pytest.mark.usefixtures("hangup_counts")
@pytest.mark.parametrize("first", [HANGUP, signal.SIGTERM])
def test_a_closed_terminal_may_say_so_several_times(first: signal.Signals) -> None:
    with stop_on_signals() as request:
        for number in (first, HANGUP, HANGUP):
            signal.raise_signal(number)
        assert request.signal_number == first


def test_a_run_of_a_closed_terminal_can_be_asked_to_stop_and_then_ended() -> None:
    program = (
        "import signal\n"
        "from vox_populi.pipeline.interruption import stop_on_signals\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "with stop_on_signals() as request:\n"
        "    signal.raise_signal(signal.SIGHUP)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print(request.signal_number, flush=True)\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, timeout=60, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (143, "1\n", "")


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(HANGUP, signal.SIG_IGN)
    try:
        with stop_on_signals() as request:
            signal.raise_signal(HANGUP)
            assert not request()
        assert signal.getsignal(HANGUP) is signal.SIG_IGN
    finally:
        signal.signal(HANGUP, before)


def test_an_acknowledgement_that_cannot_be_written_changes_nothing() -> None:
    tried = threading.Event()

    def refuse(text: str) -> None:
        tried.set()
        raise OSError(5, "the terminal is gone")

    with stop_on_signals(refuse) as request:
        signal.raise_signal(signal.SIGINT)
        assert tried.wait(10)
        assert request()


def test_handlers_come_back_with_an_acknowledgement_as_well() -> None:
    before = signal.getsignal(signal.SIGINT)
    told: list[str] = []
    with stop_on_signals(told.append) as request:
        assert not request()
    assert told == []
    assert signal.getsignal(signal.SIGINT) is before
