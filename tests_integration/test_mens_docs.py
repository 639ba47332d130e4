"""The pages about Mens say what the program does: two docs, one table of requirements."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from vox_cli.command_loading import load_command
from vox_cli.command_table import COMMANDS
from vox_populi.operator_messages.source_flags import ALIAS, SAME, SOURCE_FLAGS

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "src" / "reference"
AGENTS = ROOT / "AGENTS.md"
MENS = REFERENCE / "mens-training.md"
GAPS = REFERENCE / "gap-matrix.md"
STATES = ("works", "differently", "missing")
HELP = {"--help", "--version", "--json", "--quiet", "--verbose"}
DOCUMENTS = {"G": 10, "C": 36, "P": 21, "R": 21, "A": 17}
"""Requirements of each of the source system's documents."""


class Requirement(NamedTuple):
    """A row of the table."""

    number: str
    text: str
    state: str
    here: str
    shown: str


@cache
def flags_of(words: tuple[str, ...]) -> frozenset[str]:
    command: Any = load_command(next(each for each in COMMANDS if each.words == words))
    names = (name for each in command.params for name in (*each.opts, *each.secondary_opts))
    return frozenset(names) | HELP


def complaint(call: str) -> str | None:
    """What is wrong with a command line as a page shows it."""
    words = shlex.split(call)
    typed = tuple(words[1:])
    entry = next((e for e in COMMANDS if typed[: len(e.words)] == e.words), None)
    if entry is None:
        return f"{call}: no such command"
    flags = {word.partition("=")[0] for word in typed if word.startswith("-")}
    unknown = flags - flags_of(entry.words)
    return f"{call}: no {sorted(unknown)}" if unknown else None


def cells(page: Path, head: str) -> list[list[str]]:
    """The rows of every table with this head."""
    rows: list[list[str]] = []
    is_inside = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line == head:
            is_inside = True
        elif is_inside and not line.startswith("|"):
            is_inside = False
        elif is_inside and not line.startswith("|---"):
            rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def spans(text: str) -> Iterator[str]:
    yield from re.findall(r"`([^`\n]+)`", text)


def mens_section() -> str:
    return AGENTS.read_text(encoding="utf-8").partition("\n## 9. Mens\n")[2]


def test_both_pages_have_the_same_merges() -> None:
    short = cells(AGENTS, "| Adapter | Merge | Gives |")
    long = cells(MENS, "| Adapter | Merge | Gives | Run it with |")
    assert len(short) == 4
    assert [row[:2] for row in short] == [row[:2] for row in long]
    for ours, theirs in zip(short, long, strict=True):
        assert set(spans(ours[2])) <= set(spans(theirs[2]))


@pytest.mark.parametrize("text", [mens_section(), MENS.read_text("utf-8")], ids=["AGENTS", "page"])
def test_every_command_flag_and_file_of_a_page_exists(text: str) -> None:
    text = text.partition("\n## Flags of the source system\n")[0]
    found = list(spans(text))
    calls = [each for each in found if each.startswith("vox ")]
    assert len(calls) >= 4
    assert [said for said in map(complaint, calls) if said] == []
    known = {flag for entry in COMMANDS for flag in flags_of(entry.words)}
    flags = {each.split()[0] for each in found if each.startswith("--")}
    assert {flag.partition("=")[0] for flag in flags} <= known
    sources = "\n".join(
        path.read_text("utf-8") for path in (ROOT / "packages").glob("*/src/**/*.py")
    )
    files = {each for each in found if re.fullmatch(r"\w+\.(bin|json|safetensors)", each)}
    assert files
    assert {name for name in files if f'"{name}"' not in sources} == set()


def test_the_page_lists_the_flags_that_differ() -> None:
    shown = {(row[0], row[1]): row[2] for row in cells(MENS, "| Command | Flag | Here |")}
    expected = {
        (f"`{command}`", f"`{flag}`"): "read as ours" if answer == ALIAS else answer
        for command, source in SOURCE_FLAGS.items()
        for flag, answer in source.flags.items()
        if answer != SAME
    }
    assert shown == expected


def requirements() -> list[Requirement]:
    return [
        Requirement(*row) for row in cells(GAPS, "| # | Requirement | State | Here | Shown by |")
    ]


def test_every_requirement_has_a_row_with_a_state_and_what_shows_it() -> None:
    rows = requirements()
    numbers = [f"{letter}{n}" for letter, count in DOCUMENTS.items() for n in range(1, count + 1)]
    assert [row.number for row in rows] == numbers
    for row in rows:
        assert row.state in STATES, row
        assert all(row), row
        assert row.state == "works" or len(row.here.split()) >= 5, f"no reason: {row}"
        has_test = re.search(r"`test_\w+(\.py)?`", row.shown)
        assert has_test or "no test: " in row.shown, row
        assert has_test or row.state == "missing" or "`vox " in row.shown, row


def test_every_command_of_the_table_exists() -> None:
    calls = [each for row in requirements() for each in spans(row.shown) if each.startswith("vox ")]
    assert len(calls) > 50
    assert [said for said in map(complaint, calls) if said] == []
