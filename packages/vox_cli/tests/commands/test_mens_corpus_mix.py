from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Vox = Callable[..., Any]

MIX = ("mens", "corpus", "mix")
TRACE = {
    "task_prompt": "List the files.",
    "tool_name": "shell",
    "arguments_json": "{}",
    "result_json": "[]",
    "success": True,
    "rating": 4,
}
CONFIG = """\
sources:
  - path: code.jsonl
    weight: 1.5
  - path: tools.jsonl
    record_format: tool_trace
  - path: more.jsonl
    optional: true
output: out/mixed.jsonl
"""


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    rows = [{"prompt": f"Write f{i}.", "response": f"secret{i}"} for i in range(4)]
    write_rows(tmp_path / "code.jsonl", rows)
    write_rows(tmp_path / "tools.jsonl", [TRACE, {**TRACE, "success": False}])
    path = tmp_path / "mix.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.mark.requirement("13")
def test_tool_trace_rows_are_mixed_validated_and_previewed(
    vox: Vox, config: Path, tmp_path: Path
) -> None:
    outcome = vox(*MIX, "--config", config)
    assert outcome.code == 0, outcome.err
    mixed = tmp_path / "out" / "mixed.jsonl"
    assert "4 rows in, 4 kept + 2 repeats, 0 dropped, 75.0 % of the output" in outcome.out
    assert "skipped: missing_file_optional" in outcome.out
    assert "rows written" in outcome.out
    assert str(mixed) in outcome.out
    assert "note: " in outcome.err
    document = vox("mens", "corpus", "validate", mixed, "--json").document
    assert (document["ok"], document["accepted"]) == (True, 8)


def test_json_is_the_report_with_its_places(vox: Vox, config: Path, tmp_path: Path) -> None:
    outcome = vox(*MIX, "--config", config, "--json", "--quiet", "--seed", 7)
    document = outcome.document
    assert (outcome.code, outcome.err) == (0, "")
    report = json.loads((tmp_path / "out" / "mixed.mix_report.json").read_text(encoding="utf-8"))
    assert {key: document[key] for key in report} == report
    assert set(document) - set(report) == {"ok", "output_path", "report_path", "notes"}
    assert (report["seed"], report["total_rows"]) == (7, 8)
    assert Path(document["output_path"]) == tmp_path / "out" / "mixed.jsonl"
    assert len(document["notes"]) == 1


def test_output_and_seed_win_over_the_config(vox: Vox, config: Path, tmp_path: Path) -> None:
    contents = []
    for i, seed in enumerate((1, 1, 2)):
        output = tmp_path / f"{i}.jsonl"
        assert vox(*MIX, "--config", config, "--output", output, "--seed", seed).code == 0
        contents.append(output.read_bytes())
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]
    assert not (tmp_path / "out").exists()


def test_only_force_replaces_another_mix(vox: Vox, config: Path) -> None:
    assert vox(*MIX, "--config", config).code == 0
    assert vox(*MIX, "--config", config).code == 0, "the same mix again"
    outcome = vox(*MIX, "--config", config, "--seed", 1)
    assert (outcome.code, outcome.out, outcome.codes) == (3, "", ["MENS-D110"])
    assert vox(*MIX, "--config", config, "--seed", 1, "--force").code == 0


def test_a_missing_source_is_refused_unless_allowed(vox: Vox, config: Path, tmp_path: Path) -> None:
    (tmp_path / "tools.jsonl").unlink()
    outcome = vox(*MIX, "--config", config)
    assert (outcome.code, outcome.codes) == (3, ["MENS-D107"])
    assert f"{config}:4" in outcome.err
    assert not (tmp_path / "out").exists()
    document = vox(*MIX, "--config", config, "--allow-missing-sources", "--json").document
    assert (document["ok"], document["strict"]) == (True, False)


def test_bad_rows_are_named_and_never_quoted(vox: Vox, config: Path, tmp_path: Path) -> None:
    tools = tmp_path / "tools.jsonl"
    write_rows(tools, [TRACE, {**TRACE, "arguments_json": {"key": "secret"}}, {"secret": 1}])
    outcome = vox(*MIX, "--config", config, "--json")
    assert (outcome.code, outcome.document["exit_code"]) == (3, 3)
    places = {problem["where"] for problem in outcome.document["problems"]}
    assert places == {f"{tools}:2", f"{tools}:3"}
    assert "secret" not in outcome.err + outcome.out
    assert not (tmp_path / "out").exists()
    document = vox(*MIX, "--config", config, "--on-bad-row", "skip", "--json").document
    assert document["sources"][1]["dropped"]["bad_row"] == 2


def test_a_source_is_never_written(vox: Vox, config: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for name in ("code.jsonl", "more.jsonl", "mix.yaml"):
        outcome = vox(*MIX, "--config", config, "--output", tmp_path / name, "--force")
        assert (outcome.code, outcome.codes) == (3, ["MENS-D111"])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("text", "code", "problem"),
    [
        ("sources: [{path: code.jsonl, wieght: 2}]\noutput: o\n", 2, "MENS-D100"),
        ("sources: [{path: code.jsonl, weight: -2}]\noutput: o\n", 2, "MENS-D103"),
        ("sources: [{path: code.jsonl}]\n", 2, "MENS-D106"),
        ("sources: [{path: code.jsonl}, {path: ./code.jsonl}]\noutput: o\n", 2, "MENS-D105"),
        ("sources: [{path: code.jsonl}]\noutput: o\nmin_rating: 7\n", 2, "MENS-D103"),
        ("sources: [{path: code.jsonl}]\noutput: o\ninclude_lanes: [x]\n", 3, "MENS-D108"),
        ("sources: [{path: no.jsonl, optional: true}]\noutput: o\n", 3, "MENS-D109"),
        ("sources: [{path: .}]\noutput: o\n", 3, "MENS-D002"),
    ],
)
def test_every_refusal_has_its_exit_code(
    vox: Vox, config: Path, tmp_path: Path, text: str, code: int, problem: str
) -> None:
    config.write_text(text, encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    outcome = vox(*MIX, "--config", config)
    assert (outcome.code, outcome.codes, outcome.out) == (code, [problem], "")
    assert sorted(tmp_path.iterdir()) == before


def test_a_config_is_needed_and_must_be_there(vox: Vox, tmp_path: Path) -> None:
    assert vox(*MIX).code == 2
    outcome = vox(*MIX, "--config", tmp_path / "no.yaml")
    assert (outcome.code, outcome.codes) == (2, ["MENS-U020"])


def test_an_output_that_cannot_be_written_is_the_environments_failure(
    vox: Vox, config: Path, tmp_path: Path
) -> None:
    outcome = vox(*MIX, "--config", config, "--output", tmp_path / "code.jsonl" / "o.jsonl")
    assert outcome.code == 5


EXAMPLE = Path(__file__).parents[4] / "demo" / "mix" / "mix.yaml"


def test_the_example_mixes_and_trains(vox: Vox, tmp_path: Path) -> None:
    output = tmp_path / "data" / "train.jsonl"
    document = vox(*MIX, "--config", EXAMPLE, "--output", output, "--json").document
    code, tools, _ = document["sources"]
    assert (code["kept"], code["repeats"], code["dropped"]["rating"]) == (7, 4, 1)
    assert (tools["kept"], tools["repeats"], tools["dropped"]["rating"]) == (5, 5, 1)
    assert document["lanes"] == {"vox_codegen": 11, "vox_tooling": 10}
    assert vox("mens", "corpus", "validate", output).code == 0
    pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    run = tmp_path / "run"
    limits = ("--max-steps", 1, "--warmup", 0, "--seq-len", 64, "--validation-split-ratio", 0)
    outcome = vox(
        "mens", "train", "--data-dir", output.parent, "--output-dir", run, *limits, "--threads", 1
    )
    assert outcome.code == 0, outcome.err
    assert list(run.glob("*.bin"))


PAGES = EXAMPLE.parents[2] / "docs" / "src"


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of a page of the docs."""
    parts = (PAGES / page).read_text(encoding="utf-8").split(f"```{language}\n")[1:]
    return [part.partition("```")[0] for part in parts]


def test_the_docs_show_what_the_example_is_and_gives(vox: Vox, tmp_path: Path) -> None:
    output = tmp_path / "train.jsonl"
    outcome = vox(*MIX, "--config", EXAMPLE, "--output", output)
    config, *_ = blocks("howto/mix.md", "yaml")
    assert EXAMPLE.read_text(encoding="utf-8").endswith(config)
    printed = outcome.out.replace(str(tmp_path), "data")
    assert any(shown.endswith(printed) for shown in blocks("howto/mix.md", "text"))
    trace, row, report = (json.loads(text) for text in blocks("reference/mix-config.md", "json"))
    traces = (EXAMPLE.parent / "tool_traces.jsonl").read_text(encoding="utf-8").splitlines()
    assert trace in [json.loads(line) for line in traces]
    assert row in [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    written = output.with_name("train.mix_report.json").read_text(encoding="utf-8")
    assert report == json.loads(written)
