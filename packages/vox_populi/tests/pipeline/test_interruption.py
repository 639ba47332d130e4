"""Signals become requests; handlers are put back; outside the main thread nothing happens."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from vox_populi.pipeline.interruption import RunInterruptedError, stop_on_signals

pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_a_request(number: signal.Signals, code: int) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as request:
        assert not request()
        assert signal.getsignal(number) is not before, "or the signal would end the tests"
        signal.raise_signal(number)
        assert request()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL, "a second one must not wait"
    assert signal.getsignal(number) is before
    error = RunInterruptedError(number, 3)
    assert error.exit_code == code
    assert number.name in str(error)
    assert "after step 3" in str(error)


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
