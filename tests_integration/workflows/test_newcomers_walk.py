"""A newcomer's walk through README and tutorial: each block is run, or named here with its reason.

`docs/record_output.py` runs the `vox` commands of a page in order in an empty folder and compares
what they print with what the page shows. The blocks that it does not run are listed below.
"""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests_integration.test_mens_docs import complaint
from tests_integration.workflows.test_python_examples import PAGES as PYTHON_PAGES

ROOT = Path(__file__).resolve().parents[2]
README = "README.md"
WALK = (README, "docs/src/tutorial/first-adapter.md")
RECORDER = runpy.run_path(str(ROOT / "docs" / "record_output.py"))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

ELSEWHERE = {
    "make demo": "takes four minutes; the job `demo` of CI runs it",
    "make test": "is this run; CI runs it",
    "make demo-real": "takes seven minutes and a package index",
    "make setup": "installs what these tests run on; every job of CI starts with it",
    "source .venv/bin/activate": "test_the_environment_can_be_activated",
    "pip install ./packages/vox_tensor ./packages/vox_populi ./packages/vox_cli": (
        "test_the_folders_of_a_clone_are_what_was_built"
    ),
}
"""Commands of other programs, and what runs them."""

NO_OUTPUT = {
    "vox mens serve runs/first --port 8000": (
        "commands that run until they are stopped; test_serving.py serves a run"
    ),
    "[4/8] Ask the model as it was published; the prompt says what is wanted.": (
        "of make demo-real, which takes seven minutes and a package index"
    ),
}
"""Blocks of text that follow no command, by their first line, and why they are not printed here."""


class Block(NamedTuple):
    """A fenced block."""

    page: str
    kind: str
    text: str
    is_output: bool
    """Whether it stands right behind a block of commands."""

    @property
    def lines(self) -> list[str]:
        """Its lines, without those that are empty."""
        return [line for line in self.text.splitlines() if line.strip()]


def blocks() -> Iterator[Block]:
    for page in WALK:
        text = (ROOT / page).read_text(encoding="utf-8")
        end_of_commands = -1
        for match in FENCE.finditer(text):
            is_output = end_of_commands >= 0 and not text[end_of_commands : match.start()].strip()
            yield Block(page, match[1], match[2], is_output)
            end_of_commands = match.end() if match[1] == "bash" else -1


BLOCKS = tuple(blocks())


def commands() -> list[str]:
    """Every command line of the walk, in order."""
    return [line for block in BLOCKS if block.kind == "bash" for line in block.lines]


def test_the_pages_of_the_walk_are_run_and_compared() -> None:
    assert {page for session in RECORDER["SESSIONS"] for page in session} >= set(WALK)
    assert {(block.page, block.kind) for block in BLOCKS} >= {(page, "bash") for page in WALK}


def test_every_command_is_run_or_named_with_what_runs_it() -> None:
    others = [line for line in commands() if line.split()[0] not in {"vox", "cd"}]
    assert len(commands()) - len(others) > 20
    assert set(others) == set(ELSEWHERE)
    assert {line.split()[0] for line in others} == set(RECORDER["OTHER_PROGRAMS"])


def test_every_block_is_run_compared_or_named_with_a_reason() -> None:
    apart = [each for each in BLOCKS if each.kind == "text" and not each.is_output]
    assert {each.lines[0] for each in apart} == set(NO_OUTPUT)
    for block in BLOCKS:
        assert block.kind in {"bash", "text", "python"}
        assert block.kind != "python" or block.page in PYTHON_PAGES
    assert sum(block.is_output for block in BLOCKS) > 10


def test_a_test_that_is_named_exists() -> None:
    reasons = [*ELSEWHERE.values(), *NO_OUTPUT.values()]
    named = {name for reason in reasons for name in re.findall(r"test_\w+", reason)}
    files = {path.stem: path.read_text("utf-8") for path in Path(__file__).parent.glob("test_*.py")}
    assert named
    for name in named:
        assert name in files or any(f"def {name}(" in text for text in files.values()), name


def test_commands_that_are_not_run_have_the_flags_they_show() -> None:
    shown = [line for each in BLOCKS if each.kind == "text" for line in each.lines]
    calls = [line for line in shown if line.startswith("vox ")]
    assert calls
    assert [said for said in map(complaint, calls) if said] == []


def test_the_steps_of_the_real_demo_are_worded_as_it_prints_them() -> None:
    script = (ROOT / "demo" / "run_real_demo.py").read_text(encoding="utf-8")
    spoken = dict(re.findall(r'say\((\d), "(.+)"\)', script))
    shown = [re.fullmatch(r"\[(\d)/8\] (.+)", line) for each in BLOCKS for line in each.lines]
    steps = [match.groups() for match in shown if match]
    assert len(steps) >= 3
    assert [step for step in steps if spoken.get(step[0]) != step[1]] == []


def test_make_words_are_targets() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    words = [word for line in commands() if line.startswith("make") for word in line.split()[1:]]
    assert {"demo", "test"} <= set(words) <= targets


def test_ci_runs_the_demo_that_is_named_first() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    assert "- run: make demo\n" in workflow


def test_the_environment_can_be_activated() -> None:
    assert "UV_PROJECT_ENVIRONMENT := $(CURDIR)/.venv" in (ROOT / "Makefile").read_text("utf-8")
    if sys.platform == "win32":
        pytest.skip("Windows has Scripts instead of bin")
    assert (Path(sys.prefix) / "bin" / "activate").exists()
