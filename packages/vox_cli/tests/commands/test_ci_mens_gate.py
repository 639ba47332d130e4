"""The gate on workspaces of a few lines: what passes, and everything that must not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests_integration.gate.profiles import find_manifest
from vox_cli.commands import ci_mens_gate
from vox_populi import extras

pytestmark = pytest.mark.requirement("13")

Vox = Callable[..., Any]

INI = "[pytest]\nmarkers = requirement(id): row of the gate\n"
HEAD = 'schema_version = 1\n[profiles]\nsmall = "a"\nlarge = "b"\n'
TESTS = """
import pytest

@pytest.mark.requirement("1")
@pytest.mark.parametrize("x", [1, 2])
def test_sums_add(x):
    assert x + x == 2 * x

@pytest.mark.requirement("2")
def test_names_sort():
    assert sorted("ba") == ["a", "b"]

def test_of_no_row():
    raise AssertionError
"""


def row(id: str, select: str, profiles: str = "small", **more: object) -> str:
    texts = {"title": f"row {id}", "proves": "it holds.", "ci": "gate", "docs": f"page.md#{id}"}
    values = {"id": id, "select": [select], "paths": ["tests"], "profiles": profiles.split(",")}
    lines = [f"{key} = {json.dumps(value)}" for key, value in (values | texts | more).items()]
    return "[[row]]\n" + "\n".join(lines) + "\n"


ROWS = row("1", "sums_", "small,large") + row("2", "names_", "large")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the gate can be run in, with two rows."""
    folder = tmp_path / "workspace"
    (folder / "tests").mkdir(parents=True)
    (folder / "pytest.ini").write_text(INI, encoding="utf-8")
    write_tests(folder, TESTS)
    write_rows(folder, HEAD + ROWS)
    monkeypatch.chdir(folder)
    # Where the package is a wheel it is not in the clone that has the gate; these tests are.
    monkeypatch.setattr(ci_mens_gate, "__file__", __file__)
    # Plugins that happen to be installed play no part here, and take a second to load.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    return folder


def write_tests(folder: Path, text: str) -> None:
    (folder / "tests" / "test_sample.py").write_text(text, encoding="utf-8")


def write_rows(folder: Path, text: str) -> None:
    (folder / "acceptance.toml").write_text(text, encoding="utf-8")


def gate(vox: Vox, *more: object, profile: str = "large") -> Any:
    return vox("ci", "mens-gate", "--profile", profile, *more)


def outcomes(document: dict[str, Any]) -> dict[str, str]:
    return {each["id"]: each["outcome"] for each in document["rows"]}


def test_mens_gate_passes_and_reports_every_test(vox: Vox, workspace: Path) -> None:
    outcome = gate(vox, "--json", "--report", "report.json")
    assert (outcome.code, outcome.document["ok"]) == (0, True), outcome.err
    written = json.loads((workspace / "report.json").read_text("utf-8"))
    assert {"ok": True, **written} == outcome.document
    assert (written["schema_version"], written["profile"], written["passed"]) == (1, "large", True)
    first, second = written["rows"]
    assert [test["id"] for test in first["tests"]] == [
        "tests/test_sample.py::test_sums_add[1]",
        "tests/test_sample.py::test_sums_add[2]",
    ]
    assert (first["tests_selected"], first["passed"], first["failed"]) == (2, 2, 0)
    assert second["tests_selected"] == 1
    assert written["tests_run"] == 3
    assert 0 < first["seconds"] < written["seconds"]


def test_mens_gate_prints_a_line_per_row(vox: Vox, workspace: Path) -> None:
    outcome = gate(vox)
    assert outcome.code == 0
    assert "gate large passed: 2 rows, 3 tests" in outcome.out
    assert outcome.out.count("passed") == 3
    assert "3 passed" in outcome.err, "what pytest prints belongs to stderr"
    assert "passed" not in gate(vox, "--quiet").err


@pytest.mark.any_install
def test_mens_gate_runs_the_rows_of_its_profile(vox: Vox, workspace: Path) -> None:
    outcome = gate(vox, "--json", profile="small")
    assert outcomes(outcome.document) == {"1": "passed"}


@pytest.mark.any_install
def test_mens_gate_is_found_from_a_folder_below(
    vox: Vox, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace / "tests")
    assert gate(vox).code == 0
    monkeypatch.chdir(workspace.parent)
    assert gate(vox, "--manifest", workspace / "acceptance.toml").code == 0
    assert gate(vox).codes == ["MENS-G002"]
    (workspace / "tests_integration").mkdir()
    moved = workspace / "tests_integration" / "acceptance.toml"
    text = (workspace / "acceptance.toml").read_text("utf-8")
    moved.write_text(f'root = ".."\n{text}', encoding="utf-8")
    assert find_manifest(workspace / "tests") == moved
    monkeypatch.chdir(workspace)
    assert gate(vox).code == 0


@pytest.mark.any_install
@pytest.mark.parametrize(
    ("old", "new", "codes"),
    [
        ("test_sums_add", "test_totals_add", {"MENS-G010", "MENS-G012"}),
        ("test_names_sort", "test_letters_sort", {"MENS-G010", "MENS-G012"}),
        ('@pytest.mark.requirement("2")\n', "", {"MENS-G013"}),
    ],
)
def test_mens_gate_fails_when_a_test_is_renamed(
    vox: Vox, workspace: Path, old: str, new: str, codes: set[str]
) -> None:
    write_tests(workspace, TESTS.replace(old, new))
    outcome = gate(vox, "--json")
    assert outcome.code == 6
    assert {problem["code"] for problem in outcome.document["problems"]} == codes
    assert "untied" in outcomes(outcome.document).values()
    assert outcome.document["tests_run"] == 0, "a broken row ends the gate before a test is run"


@pytest.mark.any_install
def test_mens_gate_fails_when_one_of_several_tests_is_renamed(vox: Vox, workspace: Path) -> None:
    more = '\n@pytest.mark.requirement("1")\ndef test_sums_of_none():\n    assert not sum(())\n'
    write_tests(workspace, TESTS + more)
    assert gate(vox, profile="small").code == 0
    write_tests(workspace, TESTS + more.replace("test_sums_of", "test_totals_of"))
    assert gate(vox, profile="small").codes == ["MENS-G012"]


@pytest.mark.any_install
def test_mens_gate_takes_no_parameter_for_a_name(vox: Vox, workspace: Path) -> None:
    write_tests(
        workspace,
        TESTS.replace("test_sums_add(x)", "test_totals(x)").replace("[1, 2]", "['sums_']"),
    )
    assert set(gate(vox, profile="small").codes) == {"MENS-G010", "MENS-G012"}


@pytest.mark.any_install
def test_mens_gate_fails_when_a_named_test_is_gone(vox: Vox, workspace: Path) -> None:
    write_rows(workspace, HEAD + ROWS + row("3", "sums_", "large", tests=["test_sums_subtract"]))
    assert gate(vox).codes == ["MENS-G011", "MENS-G013"]


@pytest.mark.any_install
def test_mens_gate_fails_when_a_path_is_gone(vox: Vox, workspace: Path) -> None:
    write_rows(workspace, HEAD + row("1", "sums_", "small,large", paths=["elsewhere"]))
    outcome = gate(vox)
    assert (outcome.code, outcome.codes) == (6, ["MENS-G010"])


@pytest.mark.any_install
def test_mens_gate_reports_a_failing_test_and_what_it_kept_from_running(
    vox: Vox, workspace: Path
) -> None:
    write_tests(workspace, TESTS.replace("== 2 * x", "== 3 * x"))
    outcome = gate(vox, "--json", "--report", "report.json")
    assert outcome.code == 6
    assert outcomes(outcome.document) == {"1": "failed", "2": "not_run"}
    assert [problem["code"] for problem in outcome.document["problems"]] == ["MENS-G014"]
    assert "--keep-going" in outcome.err
    written = json.loads((workspace / "report.json").read_text("utf-8"))
    assert (written["passed"], written["tests_run"]) == (False, 1)

    outcome = gate(vox, "--json", "--keep-going")
    assert outcome.code == 6
    assert outcomes(outcome.document) == {"1": "failed", "2": "passed"}
    assert outcome.document["rows"][0]["failed"] == 2


@pytest.mark.any_install
def test_mens_gate_keeps_going_behind_a_row_that_selects_nothing(vox: Vox, workspace: Path) -> None:
    write_tests(workspace, TESTS.replace("test_sums_add", "test_totals_add"))
    outcome = gate(vox, "--json", "--keep-going")
    assert outcome.code == 6
    assert outcomes(outcome.document) == {"1": "untied", "2": "passed"}


@pytest.mark.any_install
@pytest.mark.parametrize("phase", ["setup", "teardown"])
def test_mens_gate_counts_a_broken_fixture_as_a_failure(
    vox: Vox, workspace: Path, phase: str
) -> None:
    body = "1 / 0\n    yield" if phase == "setup" else "yield\n    1 / 0"
    fixture = f"import pytest\n\n@pytest.fixture(autouse=True)\ndef broken():\n    {body}\n"
    write_tests(workspace, fixture + TESTS)
    outcome = gate(vox, profile="small")
    assert (outcome.code, outcome.codes) == (6, ["MENS-G014"])


@pytest.mark.any_install
def test_mens_gate_takes_no_skipped_row_for_a_passed_one(vox: Vox, workspace: Path) -> None:
    skipping = TESTS.replace("assert x + x == 2 * x", "pytest.skip('not here')")
    write_tests(workspace, skipping)
    outcome = gate(vox, "--json", "--keep-going")
    assert outcome.code == 6
    assert outcomes(outcome.document) == {"1": "skipped", "2": "passed"}
    assert [problem["code"] for problem in outcome.document["problems"]] == ["MENS-G015"]
    write_tests(workspace, TESTS.replace("assert x +", "x == 1 or pytest.skip()\n    assert x +"))
    outcome = gate(vox, "--json")
    assert outcome.code == 0
    assert (outcome.document["rows"][0]["skipped"], outcome.document["rows"][0]["passed"]) == (1, 1)


@pytest.mark.any_install
def test_mens_gate_fails_when_a_file_cannot_be_collected(vox: Vox, workspace: Path) -> None:
    (workspace / "tests" / "test_torn.py").write_text("import nothing_of_that_name\n", "utf-8")
    for more in ((), ("--keep-going",)):
        outcome = gate(vox, *more)
        assert (outcome.code, outcome.codes) == (6, ["MENS-G016"])
        assert "nothing_of_that_name" in outcome.err


@pytest.mark.any_install
def test_mens_gate_fails_when_its_process_dies(vox: Vox, workspace: Path) -> None:
    write_tests(workspace, TESTS.replace("assert x + x", "import os; os._exit(9); assert x + x"))
    outcome = gate(vox, "--json")
    assert outcome.code == 6
    assert outcomes(outcome.document) == {"1": "not_run", "2": "not_run"}
    assert [problem["code"] for problem in outcome.document["problems"]] == ["MENS-G017"]


@pytest.mark.any_install
def test_mens_gate_fails_when_pytest_refuses_its_config(vox: Vox, workspace: Path) -> None:
    (workspace / "pytest.ini").write_text("[pytest]\naddopts = --no-such-flag\n", "utf-8")
    outcome = gate(vox)
    assert (outcome.code, outcome.codes) == (6, ["MENS-G017"])


@pytest.mark.any_install
def test_mens_gate_is_not_steered_by_the_shell(
    vox: Vox, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "-k nothing_of_that_name")
    outcome = gate(vox)
    assert outcome.code == 0
    assert "PYTEST_ADDOPTS has no effect" in outcome.err


def test_mens_gate_refuses_an_unknown_profile(vox: Vox, workspace: Path) -> None:
    outcome = gate(vox, profile="smal")
    assert (outcome.code, outcome.codes) == (2, ["MENS-G005"])
    assert "small, large" in outcome.err


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("schema_version = ", ["MENS-G003"]),
        ("a = " + "[" * 100_000, ["MENS-G003"]),
        ("schema_version = 2\n" + HEAD[19:] + ROWS, ["MENS-G004"]),
        (HEAD + ROWS + "colour = 1\n", ["MENS-G004"]),
        (HEAD + ROWS + row("1", "sums_"), ["MENS-G004"]),
        (HEAD + row("1", "sums_", "small,large,tiny"), ["MENS-G004"]),
        (HEAD + row("1", "sums_"), ["MENS-G004"]),
        (HEAD + row("1", "", "small,large"), ["MENS-G004"]),
        (HEAD + row("1", "a", "small,large", paths=["../tests"]), ["MENS-G004"]),
        (HEAD + row("1", "a", "small,large", paths=["--pdb"]), ["MENS-G004"]),
        (HEAD + row("1 2", "a", "small,large", title=7), ["MENS-G004"] * 2),
        ("schema_version = 1\nrow = 1\n" + HEAD[19:], ["MENS-G004"] * 3),
        ("schema_version = 1\n" + ROWS, ["MENS-G004"] * 4),
    ],
)
def test_mens_gate_refuses_a_malformed_manifest(
    vox: Vox, workspace: Path, text: str, codes: list[str]
) -> None:
    write_rows(workspace, text)
    outcome = gate(vox, profile="small")
    assert (outcome.code, outcome.codes) == (2, codes)


def test_mens_gate_refuses_a_manifest_that_cannot_be_read(vox: Vox, workspace: Path) -> None:
    (workspace / "bytes.toml").write_bytes(b"\xff\xfe")
    for name in ("absent.toml", "tests", "bytes.toml"):
        outcome = gate(vox, "--manifest", workspace / name)
        assert (outcome.code, outcome.codes) == (2, ["MENS-G003"])


@pytest.mark.parametrize("where", ["tests", "absent/report.json"])
def test_mens_gate_refuses_a_place_for_its_report_before_it_runs(
    vox: Vox, workspace: Path, where: str
) -> None:
    outcome = gate(vox, "--report", workspace / where)
    assert (outcome.code, outcome.codes) == (5, ["MENS-E005"])
    assert outcome.out == ""


def test_mens_gate_without_pytest_has_the_install_line(
    vox: Vox, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda module: module != "pytest")
    outcome = gate(vox)
    assert (outcome.code, outcome.codes) == (7, ["MENS-G001"])
    assert "pip install pytest" in outcome.err


@pytest.mark.any_install
def test_mens_gate_leaves_nothing_in_the_workspace(
    vox: Vox, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    before = sorted(path.name for path in workspace.rglob("*"))
    assert gate(vox).code == 0
    assert sorted(path.name for path in workspace.rglob("*")) == before


def test_mens_gate_outside_of_a_clone_says_where_it_runs(
    vox: Vox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ci_mens_gate, "__file__", str(tmp_path / "site-packages" / "ci.py"))
    outcome = gate(vox)
    assert (outcome.code, outcome.codes) == (2, ["MENS-G002"])
    assert "tests_integration/gate" in outcome.err
    assert outcome.out == ""
