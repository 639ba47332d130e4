"""What the hosted CI runs: pinned actions, read-only tokens, and words that make knows."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
JOBS: dict[str, dict[str, Any]] = yaml.safe_load(
    (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
)["jobs"]
PACKAGES = sorted(path for path in (ROOT / "packages").iterdir() if path.is_dir())
PROJECTS: dict[str, dict[str, Any]] = {
    document["project"]["name"]: document
    for package in PACKAGES
    for document in [tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))]
}
PINNED_ACTION = re.compile(r"^[\w-]+/[\w-]+@[0-9a-f]{40} # v\d")


def run_lines(job: dict[str, Any]) -> list[str]:
    """The lines that a job's steps run."""
    return [line for step in job["steps"] for line in step.get("run", "").splitlines()]


def names_of(project: dict[str, Any], group: str) -> set[str]:
    """The distributions of a dependency group and of those that it includes."""
    found: set[str] = set()
    for entry in project["dependency-groups"][group]:
        if isinstance(entry, dict):
            found |= names_of(project, entry["include-group"])
        else:
            found.add(re.split(r"[<>=!~\[ ]", entry, maxsplit=1)[0])
    return found


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
    assert set(JOBS["check"]["needs"]) == set(JOBS) - {"check"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_calls_words_that_make_knows(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    called = set(re.findall(r"\bmake ([a-z]+)", path.read_text(encoding="utf-8")))
    assert {"check", "test"} <= known
    assert called <= known


def test_the_slim_job_covers_every_package() -> None:
    matrix = JOBS["slim"]["strategy"]["matrix"]
    assert set(matrix["package"]) == {path.name for path in PACKAGES}


@pytest.mark.parametrize("job", ["slim", "torch-cpu"])
def test_a_job_runs_on_macos_too(job: str) -> None:
    assert {"ubuntu-latest", "macos-latest"} <= set(JOBS[job]["strategy"]["matrix"]["os"])
    assert JOBS[job]["runs-on"] == "${{ matrix.os }}"
    assert job in JOBS["check"]["needs"]


def test_the_gpu_job_selects_from_every_folder_of_tests() -> None:
    workflow = yaml.safe_load(
        (ROOT / ".github" / "workflows" / "gpu.yml").read_text(encoding="utf-8")
    )
    (tests,) = (line for line in run_lines(workflow["jobs"]["gpu"]) if "pytest" in line)
    assert shlex.split(tests) == [".venv/bin/python", "-m", "pytest", "-m", "gpu"]


def synced_projects(words: list[str]) -> list[dict[str, Any]]:
    """The projects that a `uv sync` line installs, one for each value that a matrix has there."""
    if "--project" in words:
        assert words[words.index("--project") + 1] == "packages/$PACKAGE"
        return list(PROJECTS.values())
    return [PROJECTS[words[words.index("--package") + 1]]]


@pytest.mark.parametrize("job", ["slim", "torch-cpu", "lowest"])
def test_a_sync_names_what_the_projects_declare(job: str) -> None:
    (words,) = (shlex.split(line) for line in run_lines(JOBS[job]) if line.startswith("uv sync"))
    extras = {words[i + 1] for i, word in enumerate(words) if word == "--extra"}
    (group,) = (words[i + 1] for i, word in enumerate(words) if word == "--group")
    for project in synced_projects(words):
        assert extras <= set(project["project"].get("optional-dependencies", {}))
        assert group in project["dependency-groups"]
    assert (group == "test-torch") == bool(extras), "tests that need torch need more"


def test_one_package_is_synced_into_an_environment_of_its_own() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    lines = [shlex.split(line) for line in page.splitlines() if " uv sync " in line and "=" in line]
    (slim,) = (line for line in run_lines(JOBS["slim"]) if line.startswith("uv sync"))
    plain, with_torch = lines
    assert plain[0] == with_torch[0] == "UV_PROJECT_ENVIRONMENT=.slim"
    # The matrix of that job has folders, because its tests are in them.
    assert plain[1:] == shlex.split(
        slim.replace('--project "packages/$PACKAGE"', "--package vox-tensor")
    )
    (torch_cpu,) = (line for line in run_lines(JOBS["torch-cpu"]) if line.startswith("uv sync"))
    assert with_torch[1:] == shlex.split(torch_cpu)
    assert ".slim/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_all_packages_can_be_tested_on_an_install_of_the_last() -> None:
    groups = [names_of(p, g) for p in PROJECTS.values() for g in p["dependency-groups"]]
    assert names_of(PROJECTS["vox-mens-cli"], "test-torch") == set().union(*groups)


def test_no_test_is_skipped_for_lack_of_what_its_group_brings() -> None:
    groups = [names_of(p, g) for p in PROJECTS.values() for g in p["dependency-groups"]]
    promised = "|".join(sorted(set().union(*groups)))
    skips = re.compile(rf"""importorskip\(\s*["'](?:{promised})\b""")
    assert skips.search('importorskip("numpy", reason="x")')
    files = [path for package in PACKAGES for path in (package / "tests").rglob("*.py")]
    assert [p.name for p in files if skips.search(p.read_text(encoding="utf-8"))] == []
