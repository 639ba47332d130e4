from __future__ import annotations

import shlex
from pathlib import Path

import pytest

import vox_cli.commands
from vox_cli.command_loading import load_command
from vox_cli.command_table import COMMANDS, DEFAULT_COMMANDS, GROUP_HELP, CommandEntry

IDS = [" ".join(entry.words) for entry in COMMANDS]


def test_every_file_is_a_command_and_every_command_has_its_file() -> None:
    folder = Path(vox_cli.commands.__file__).parent
    files = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert files == {entry.module.rpartition(".")[2] for entry in COMMANDS}


def test_every_command_is_in_a_group() -> None:
    assert {entry.words[:-1] for entry in COMMANDS} <= set(GROUP_HELP)


@pytest.mark.parametrize("entry", COMMANDS, ids=IDS)
def test_a_command_has_help_with_an_example_and_the_common_flags(
    entry: CommandEntry, vox: object
) -> None:
    assert callable(vox)
    outcome = vox(*entry.words, "--help")
    assert (outcome.code, outcome.err) == (0, "")
    assert entry.example in outcome.out
    for flag in ("--json", "--quiet", "--verbose", "--color"):
        assert flag in outcome.out, flag


@pytest.mark.parametrize("entry", COMMANDS, ids=IDS)
def test_the_flags_of_an_example_exist(entry: CommandEntry) -> None:
    known = {name for parameter in load_command(entry).params for name in parameter.opts}
    default = DEFAULT_COMMANDS.get(entry.words[:-1])
    words = entry.words[:-1] if default == entry.words[-1] else entry.words
    own = [part for part in entry.example.split("&&") if " ".join(words) in part]
    used = {word for word in shlex.split(own[0]) if word.startswith("-")}
    assert used <= known


@pytest.mark.parametrize("entry", COMMANDS, ids=IDS)
def test_the_short_help_is_one_line(entry: CommandEntry) -> None:
    assert len(entry.short_help) < 70
    assert entry.short_help.endswith(".")
