"""Commands of the README that are not `vox`: words that make knows, and the environment.

Those of `vox`, here and on the other pages, are run by `test_shown_output.py`, those of pip by
`test_wheels.py`.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
SHELL_BLOCK = re.compile(r"^```(?:bash|sh|shell|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(page: Path) -> Iterator[list[str]]:
    """The words of every command in every shell block of a page, in order."""
    for block in SHELL_BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


def commands_of(program: str) -> list[list[str]]:
    """The README's commands of one program."""
    return [words for words in commands(README) if words[0] == program]


def test_every_program_of_the_readme_is_tested_below() -> None:
    assert {words[0] for words in commands(README)} == {"make", "source", "cd", "vox", "pip"}


def test_make_words_are_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    words = [word for command in commands_of("make") for word in command[1:]]
    assert {"demo", "test"} <= set(words) <= targets


def test_the_environment_can_be_activated() -> None:
    assert commands_of("source") == [["source", ".venv/bin/activate"]]
    assert "UV_PROJECT_ENVIRONMENT := $(CURDIR)/.venv" in (ROOT / "Makefile").read_text(
        encoding="utf-8"
    )
    assert (Path(sys.prefix) / "bin" / "activate").exists()
