from __future__ import annotations

import io

import pytest

from vox_cli.console import Console
from vox_cli.terminal import Channel
from vox_cli.transfer_view import TransferView

MIB = 2**20


class _Stream(io.StringIO):
    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def shown(*, terminal: bool, quiet: bool = False, step: float) -> str:
    stream, now = _Stream(terminal=terminal), [0.0]
    view = TransferView(Console(quiet=quiet), Channel(lambda: stream), clock=lambda: now[0])
    for done in range(0, 101, 10):
        view.progress(done * MIB, 100 * MIB)
        now[0] += step
    view.close()
    return stream.getvalue()


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_a_log_has_few_lines() -> None:
    assert shown(terminal=False, step=16).splitlines() == [
        " 20% 20 MiB of 100 MiB  1 MiB/s  2:08 left",
        " 40% 40 MiB of 100 MiB  1 MiB/s  1:36 left",
        " 60% 60 MiB of 100 MiB  1 MiB/s  1:04 left",
        " 80% 80 MiB of 100 MiB  1 MiB/s  0:32 left",
        "100% 100 MiB of 100 MiB  1 MiB/s",
    ]


def test_a_terminal_has_one_line_that_fits() -> None:
    text = shown(terminal=True, step=1)
    assert text.count("\n") == 1
    lines = text.split("\r")[1:]
    assert len(lines) == 10
    assert "left" not in lines[0]
    assert "100% 100 MiB of 100 MiB" in lines[-1]


def test_quiet_is_quiet() -> None:
    assert shown(terminal=False, quiet=True, step=16) == ""
