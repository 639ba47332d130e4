"""What the launcher of several processes does with signals."""

from __future__ import annotations

import signal

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

from vox_populi.pipeline import launch_run


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs signals of a terminal")
def test_a_signal_that_nohup_ignores_stays_ignored() -> None:
    names = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
    before = {name: signal.getsignal(getattr(signal, name)) for name in names}
    try:
        for name in names:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        assert launch_run.heeded_signals() == names
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert launch_run.heeded_signals() == ("SIGTERM", "SIGINT", "SIGQUIT")
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
