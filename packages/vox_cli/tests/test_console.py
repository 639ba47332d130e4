from __future__ import annotations

import io
import json
import sys

import pytest

from vox_cli.console import ColorChoice, Console, json_text
from vox_cli.terminal import Channel


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


TERMINAL, FILE = Channel(Tty), Channel(io.StringIO)


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")


def test_a_terminal_has_colour_and_a_bar_and_a_file_has_neither() -> None:
    console = Console()
    assert console.has_color(TERMINAL)
    assert console.has_bar(TERMINAL)
    assert not console.has_color(FILE)
    assert not console.has_bar(FILE)


def test_no_color_wins_over_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Console().has_color(TERMINAL)
    assert Console().has_bar(TERMINAL)
    assert Console(color=ColorChoice.ALWAYS).has_color(FILE)


def test_force_color_colours_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert Console().has_color(FILE)
    assert not Console(color=ColorChoice.NEVER).has_color(TERMINAL)


def test_a_dumb_terminal_gets_neither(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert not Console().has_color(TERMINAL)
    assert not Console().has_bar(TERMINAL)


@pytest.mark.parametrize(("value", "has_bar"), [("true", False), ("1", False), ("false", True)])
def test_ci_gets_plain_lines(monkeypatch: pytest.MonkeyPatch, value: str, has_bar: bool) -> None:
    monkeypatch.setenv("CI", value)
    assert Console().has_bar(TERMINAL) is has_bar


def test_quiet_says_nothing_but_results(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True, verbose=True)
    console.note("note")
    console.result("result")
    assert capsys.readouterr() == ("result\n", "")


def test_a_json_document_has_ok_true_on_success(capsys: pytest.CaptureFixture[str]) -> None:
    Console(as_json=True).document({"loss": 1.5})
    assert json.loads(capsys.readouterr().out) == {"ok": True, "loss": 1.5}


def test_json_has_no_nan() -> None:
    text = json_text({"a": float("nan"), "b": [float("inf"), 1.0], "c": {"d": (float("-inf"),)}})
    assert json.loads(text) == {"a": None, "b": [None, 1.0], "c": {"d": [None]}}


def test_json_is_ascii_where_the_stream_has_no_unicode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert json_text("é😀").isascii()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert json_text("é😀") == '"é😀"'
