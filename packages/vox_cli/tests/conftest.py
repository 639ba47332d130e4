"""Fixtures of the command line's tests: the real entry point, called in this process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from vox_cli import app, command_loading
from vox_cli.app import run
from vox_cli.command_loading import load_command
from vox_cli.command_table import CommandEntry
from vox_cli.grouped_help import help_width
from vox_cli.lazy_group import build_root_command


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output, which must be exactly one JSON object."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        return value

    @property
    def codes(self) -> list[str]:
        """Codes of the problems on standard error, one a line."""
        lines = [
            line for line in self.err.splitlines() if line.startswith(("error [", "stopped ["))
        ]
        return [line.partition("[")[2].partition("]")[0] for line in lines]


Vox = Callable[..., Outcome]


@cache
def _loaded(entry: CommandEntry, _: int) -> Any:
    return load_command(entry)


def load_once(entry: CommandEntry) -> Any:
    """A command as `load_command` makes it, whose help depends on the width of the terminal."""
    return _loaded(entry, help_width())


@cache
def _root(_: int) -> Any:
    return build_root_command()


@pytest.fixture
def vox(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Vox:
    """Run `vox ARGUMENTS…`; settings of the person who runs the tests do not reach it."""
    # A process calls one command; the tests call them thousands of times.
    monkeypatch.setattr(command_loading, "load_command", load_once)
    monkeypatch.setattr(app, "build_root_command", lambda: _root(help_width()))
    for name in list(os.environ):
        if name.startswith("VOX_") or name in ("NO_COLOR", "FORCE_COLOR", "CI", "TERM"):
            monkeypatch.delenv(name)

    def call(*argv: object) -> Outcome:
        capsys.readouterr()
        code = run([str(argument) for argument in argv])
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call
