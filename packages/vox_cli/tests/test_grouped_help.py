"""The headings of help: every option and every command is listed once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vox_cli.command_loading import load_command
from vox_cli.command_table import COMMANDS
from vox_cli.grouped_help import headed
from vox_cli.terminal import Channel
from vox_cli.train_request import TRAIN_SETTINGS

Vox = Callable[..., Any]
COMMON = {"json", "quiet", "verbose", "color", "help"}


def test_every_setting_of_training_stands_under_a_heading_once() -> None:
    names = tuple(each.name for each in TRAIN_SETTINGS)
    sections = headed(names)
    listed = [name for members in sections.values() for name in members]
    assert sorted(listed) == sorted(names)


def test_help_shows_every_option_of_every_command(vox: Vox) -> None:
    for entry in COMMANDS:
        shown = vox(*entry.words, "--help").out
        for parameter in load_command(entry).params:
            if parameter.param_type_name == "option" and not parameter.hidden:
                assert parameter.opts[0] in shown, (entry.words, parameter.opts)
            elif parameter.param_type_name == "argument":
                assert str(parameter.metavar) in shown, (entry.words, parameter.name)


def test_a_short_command_has_one_list(vox: Vox) -> None:
    shown = vox("mens", "quantize", "--help").out
    assert "Options:" in shown
    assert "Device:" not in shown
    assert "Other:" not in shown


def test_the_commands_of_mens_stand_under_headings(vox: Vox) -> None:
    shown = vox("mens", "--help").out
    headings = [line for line in shown.splitlines() if line.endswith(":") and line[0] != " "]
    assert headings[:3] == ["Options:", "Start:", "Data:"]
    assert "Commands:" not in shown
    for entry in COMMANDS:
        if entry.words[0] == "mens":
            assert f"\n  {entry.words[1]} " in shown
    assert "Commands:" in vox("mens", "corpus", "--help").out


def test_help_fits_a_narrow_terminal(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "columns", lambda channel: 40)
    for words in (("mens", "--help"), ("mens", "quantize", "--help")):
        lines = vox(*words).out.partition("Example:")[0].splitlines()
        assert max(map(len, lines)) <= 40
    monkeypatch.setattr(Channel, "columns", lambda channel: 200)
    assert max(map(len, vox("mens", "--help").out.splitlines())) <= 78
