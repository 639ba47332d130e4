from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import pytest

from vox_cli.terminal import Channel, Style


def test_a_line_is_one_line_whatever_is_in_it() -> None:
    stream = io.StringIO()
    channel = Channel(lambda: stream)
    channel.line("a\nb\x1b[2J")
    channel.text("c\n\x1bd", end="")
    assert stream.getvalue() == "a\\nb\\x1b[2J\nc\n\\x1bd"


def test_colours_are_ours_alone() -> None:
    stream = io.StringIO()
    channel = Channel(lambda: stream)
    pieces = [("a\x1b[31m", Style.PLAIN), ("b\x1b[0m", Style.GREEN)]
    channel.styled(pieces, has_color=True)
    channel.styled(pieces, has_color=False)
    colored, plain = stream.getvalue().splitlines()
    assert colored == "a\\x1b[31m\x1b[32mb\\x1b[0m\x1b[0m"
    assert plain == "a\\x1b[31mb\\x1b[0m"


def test_the_width_is_that_of_this_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    pty = pytest.importorskip("pty", reason="needs a system with pseudo-terminals")
    termios = pytest.importorskip("termios", reason="needs a system with pseudo-terminals")
    fcntl = pytest.importorskip("fcntl", reason="needs a system with pseudo-terminals")
    monkeypatch.setenv("COLUMNS", "99")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as stream, os.fdopen(ours, "rb"):
        channel = Channel(lambda: stream)
        for width in (40, 133):
            fcntl.ioctl(stream, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
            assert channel.columns() == width
        fcntl.ioctl(stream, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
        assert channel.columns() == 80, "a terminal that does not know"
    assert Channel(io.StringIO).columns() == 80


def test_a_line_at_once_needs_no_buffer_and_survives_a_lost_stream(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w", encoding="utf-8") as stream:
        Channel(lambda: stream).at_once("stop\x1b[2J")
        assert (tmp_path / "log").read_bytes() == b"stop\\x1b[2J\n"
    Channel(lambda: stream).at_once("closed")
    Channel(io.StringIO).at_once("no file")
