"""What the hosted CI runs: pinned actions, read-only tokens, and words that make knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED_ACTION = re.compile(r"^[\w-]+/[\w-]+@[0-9a-f]{40} # v\d")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_reads_only_and_pins_its_actions(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    workflow = yaml.safe_load(text)
    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    uses = re.findall(r"uses: (.+)$", text, re.MULTILINE)
    assert uses
    assert [action for action in uses if not PINNED_ACTION.match(action)] == []


def test_the_last_job_waits_for_every_other_one() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    assert set(jobs["check"]["needs"]) == set(jobs) - {"check"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_words_that_make_knows(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    called = set(re.findall(r"\bmake ([a-z]+)", path.read_text(encoding="utf-8")))
    assert {"check", "test"} <= known
    assert called <= known


def test_the_slim_job_covers_every_package() -> None:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    matrix = yaml.safe_load(text)["jobs"]["slim"]["strategy"]["matrix"]
    assert set(matrix["package"]) == {path.name for path in (ROOT / "packages").iterdir()}
