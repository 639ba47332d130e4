"""The acceptance runbook, its tests, CI and its page say the same, each checked from both sides."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests_integration.gate.plugin import collected_test
from tests_integration.gate.profiles import GateRow, find_manifest, read_manifest
from tests_integration.gate.selection import CollectedTest, selected_tests, selection_problems
from tests_integration.gate.session import run_session

ROOT = Path(__file__).resolve().parents[1]
MANIFEST = read_manifest(find_manifest(ROOT))
ROWS = {row.id: row for row in MANIFEST.rows}
DOCS = ROOT / "docs" / "src"
MATRICES = (
    "reference/capability-matrix.md",
    "reference/gap-matrix.md",
    "reference/reported-inputs.md",
)

RUNBOOK = {
    "1a": "execution_planner",
    "1b": "hf_keymap",
    "1c": "training_text",
    "1d": "preflight_strict_rejects_missing_o_proj",
    "2": "burn_full_graph_smoke",
    "3": "lora_vox_transformer_checkpoint_roundtrip",
    "4": "merged_vox_transformer_matches_lora_full_forward",
    "5": "candle_burn_f32_matmul_parity",
    "6": "candle_burn_f32_linear_lm_logits_parity",
    "7": "candle_burn_cross_entropy_parity",
    "8": "candle_burn_nf4_dequant_lm_reference_parity",
    "9": "linear_warmup_sequence_matches",
    "10": "merge_",
}
"""Row of the source system's runbook -> the filter that its command has."""

GATE_STEPS = {
    "m1m4": {"1a", "1b", "5", "6", "7", "8", "10", "merge_v2", "qlora_preflight", "13"}
    | {"last_hidden_shape_is_d_model"},
    "training": {*RUNBOOK, "merge_v2", "11", "12"},
    "ci_full": set(ROWS),
}
"""What a profile has at least: the source system's steps, and the two runs of its runbook."""


@pytest.fixture(scope="module")
def collected(request: pytest.FixtureRequest) -> tuple[CollectedTest, ...]:
    """Every test of the workspace: those of this run if it is of them all, else collected anew."""
    if is_of_all_tests(request.config):
        return tuple({item.nodeid: collected_test(item) for item in request.session.items}.values())
    everywhere = GateRow(
        id="all",
        title="all",
        proves="all",
        select=("test_",),
        paths=("packages", "tests_integration"),
        profiles=("all",),
        ci="gate",
        docs="all",
    )
    lines: list[str] = []
    session = run_session(MANIFEST, (everywhere,), lines.append, keep_going=True, collect_only=True)
    assert session.uncollected == {}
    assert session.collected, "\n".join(lines[-40:])
    return session.collected


def is_of_all_tests(config: pytest.Config) -> bool:
    """Whether nothing was chosen or left out on the command line."""
    paths = {Path(argument).resolve() for argument in config.args}
    chosen = ("keyword", "markexpr", "deselect", "lf", "ignore", "ignore_glob", "stepwise")
    return paths == {ROOT / path for path in config.getini("testpaths")} and not any(
        config.getoption(name, None) for name in chosen
    )


def test_the_manifest_is_that_of_this_workspace() -> None:
    assert MANIFEST.path == ROOT / "tests_integration" / "acceptance.toml"
    assert MANIFEST.root == ROOT


@pytest.mark.parametrize("id", RUNBOOK)
def test_a_row_of_the_source_has_its_number_and_its_filter(id: str) -> None:
    assert ROWS[id].select == (RUNBOOK[id],)


def test_the_rows_without_a_filter_are_there_too() -> None:
    assert {"11", "12", "13"} <= set(ROWS)
    assert "tool_trace_" in ROWS["13"].select


@pytest.mark.parametrize("profile", GATE_STEPS)
def test_a_profile_has_every_step_of_the_source(profile: str) -> None:
    assert {row.id for row in MANIFEST.rows_of(profile)} >= GATE_STEPS[profile]
    assert set(GATE_STEPS) == set(MANIFEST.profiles)


@pytest.mark.parametrize("row", MANIFEST.rows, ids=lambda row: row.id)
def test_a_row_is_tied_to_tests(row: GateRow, collected: tuple[CollectedTest, ...]) -> None:
    assert [str(problem) for problem in selection_problems(row, collected)] == []
    assert selected_tests(row, collected)


def test_every_mark_names_a_row(collected: tuple[CollectedTest, ...]) -> None:
    marked = {(id, test.id) for test in collected for id in test.requirements}
    assert len({id for id, _ in marked}) == len(ROWS), "each row has a marked test"
    assert {(id, test) for id, test in marked if id not in ROWS} == set()


def test_every_test_across_packages_is_reached_or_listed(
    collected: tuple[CollectedTest, ...],
) -> None:
    files = {test.file for test in collected if test.file.startswith("tests_integration/")}
    reached = {test.file for row in MANIFEST.rows for test in selected_tests(row, collected)}
    assert files - reached == set(MANIFEST.outside)
    assert all((ROOT / path).is_file() for path in MANIFEST.outside)


def test_filters_listed_as_left_out_match_no_test(collected: tuple[CollectedTest, ...]) -> None:
    built = [name for name in MANIFEST.left_out if any(name in test.id for test in collected)]
    assert built == [], "it is built by now: give it a row"


def sections(page: str) -> dict[str, str]:
    """Heading of the third level -> the text below it."""
    parts = re.split(r"^### (.+)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("row", MANIFEST.rows, ids=lambda row: row.id)
def test_a_row_has_its_section(row: GateRow) -> None:
    page, _, anchor = row.docs.partition("#")
    assert anchor == f"row-{row.id}".lower()
    text = sections((DOCS / page).read_text(encoding="utf-8"))[f"Row {row.id}"]
    assert row.title in text
    assert row.proves in text
    for part in row.select:
        assert f"`{part}`" in text


def test_the_page_has_no_section_of_a_row_that_is_gone() -> None:
    page = (DOCS / "runbook" / "acceptance.md").read_text(encoding="utf-8")
    named = {name.removeprefix("Row ") for name in sections(page) if name.startswith("Row ")}
    assert named == set(ROWS)
    for name, reason in MANIFEST.left_out.items():
        assert f"`{name}`" in page
        assert reason in page


def workflow() -> dict[str, Any]:
    text = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    parsed = yaml.safe_load(text)
    assert isinstance(parsed, dict)
    return parsed


def commands(jobs: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Job and shell text of every step."""
    for name, job in jobs.items():
        for step in job["steps"]:
            if "run" in step:
                yield name, step["run"]


def listed_tests(command: str) -> list[str]:
    """What would make a workflow a second list of tests."""
    return re.findall(
        r"\btest_\w+|::|(?<!\S)-k\b|(?<!\S)--deselect\b|tests_integration/\S+", command
    )


@pytest.mark.parametrize(
    "command", ["pytest -k merge_", "pytest packages/a/tests/test_b.py", "pytest x::y"]
)
def test_the_search_for_listed_tests_sees(command: str) -> None:
    assert listed_tests(command)


def test_ci_lists_no_tests_of_its_own() -> None:
    found = {
        command: names
        for _, command in commands(workflow()["jobs"])
        if (names := listed_tests(command))
    }
    assert found == {}


def test_ci_runs_the_gate_with_every_row() -> None:
    jobs = workflow()["jobs"]
    gates = {
        (job, profile)
        for job, command in commands(jobs)
        for profile in re.findall(r"\bvox ci mens-gate --profile (\w+)", command)
    }
    ran = {(job, row.id) for job, profile in gates for row in MANIFEST.rows_of(profile)}
    assert {(row.ci, row.id) for row in MANIFEST.rows} == ran
    assert {job for job, _ in gates} <= set(jobs["check"]["needs"])


def test_make_gate_runs_the_first_profile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(
        r"^gate:.*\n\t@.*\$\(VENV\)/vox ci mens-gate --profile", makefile, re.MULTILINE
    )
    assert re.search(r"^GATE_PROFILE \?= m1m4$", makefile, re.MULTILINE)


def named_tests(page: str) -> list[str]:
    """Test functions and files in backticks."""
    return re.findall(r"`(test_\w+(?:\.py)?)`", page)


@pytest.mark.parametrize("name", [*MATRICES, "reference/families.md"])
def test_every_test_that_a_matrix_names_exists(
    name: str, collected: tuple[CollectedTest, ...]
) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    known = {test.function for test in collected} | {Path(test.file).name for test in collected}
    assert len(named_tests(page)) > 10
    assert [test for test in named_tests(page) if test not in known] == []


@pytest.mark.parametrize("name", MATRICES)
def test_every_row_of_a_matrix_names_a_test_or_says_that_there_is_none(name: str) -> None:
    page = (DOCS / name).read_text(encoding="utf-8")
    lines = page.splitlines()
    heads = {above for above, line in pairwise(lines) if line.startswith("|---")}
    body = [line for line in lines if line.startswith("| ") and line not in heads]
    assert len(body) >= 6
    silent = [line for line in body if not named_tests(line) and "no test" not in line]
    assert silent == []


def test_the_checklist_is_the_template_of_a_pull_request() -> None:
    text = (ROOT / ".github" / "pull_request_template.md").read_text(encoding="utf-8")
    assert text.count("- [ ] ") >= 15
    for name in ("vox ci mens-gate", "preflight_strict_rejects_missing_o_proj"):
        assert name in text
    missing = [
        path
        for path in re.findall(r"`([\w./-]+/[\w.-]+\.\w+)`", text)
        if not (ROOT / path).exists()
    ]
    assert missing == []
