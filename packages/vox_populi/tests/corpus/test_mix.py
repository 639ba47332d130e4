from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packages.vox_populi.tests.schemas import meets_schema
from vox_populi.corpus.legacy_rules import SOURCE_RULES
from vox_populi.corpus.mix import OTHER_LANES, MixResult
from vox_populi.corpus.mix_config import MixSource
from vox_populi.corpus.mix_report import MixDrop
from vox_populi.corpus.mix_selection import quota
from vox_populi.corpus.tool_trace import RecordFormat
from vox_populi.corpus.validate import validate_corpus
from vox_populi.data.dataset import OnBadRow
from vox_populi.errors import ConfigError

Rows = list[dict[str, Any]]


def rows(count: int, name: str = "f", **fields: object) -> Rows:
    return [
        {"prompt": f"Write {name}{i}.", "response": f"{name}{i}", **fields} for i in range(count)
    ]


def traces(count: int) -> Rows:
    return [
        {
            "task_prompt": f"List folder {i}.",
            "tool_name": "shell",
            "arguments_json": json.dumps({"command": f"ls {i}"}),
            "result_json": "[]",
            "success": True,
            "rating": 1 + i % 5,
        }
        for i in range(count)
    ]


def lines_of(path: Path) -> Rows:
    return [json.loads(line) for line in path.read_bytes().decode().split("\n")[:-1]]


def counts(found: Rows) -> Counter[str]:
    return Counter(row["response"] for row in found)


@pytest.mark.requirement("13")
def test_tool_trace_sources_are_mixed_with_rows_and_pass_validation(mix_folder: Any) -> None:
    mix_folder.write("code.jsonl", rows(10, category="python_function"))
    mix_folder.write("tools.jsonl", traces(10))
    result = mix_folder.mix(
        MixSource(path="code.jsonl"),
        MixSource(path="tools.jsonl", record_format=RecordFormat.TOOL_TRACE, weight=2.0),
        min_rating=3,
    )
    found = lines_of(result.output)
    lanes = Counter(row["lane"] for row in found)
    assert lanes == result.report.lanes == {"vox_codegen": 10, "vox_tooling": 12}
    assert {row["rating"] for row in found if row["lane"] == "vox_tooling"} == {3, 4, 5}
    report = validate_corpus(result.output)
    assert (report.ok, report.accepted) == (True, 22)


@pytest.mark.requirement("13")
def test_tool_trace_rows_that_are_bad_are_all_named_with_file_and_line(mix_folder: Any) -> None:
    bad = [*traces(2), {**traces(1)[0], "success": 1}, {"secret": "x"}]
    path = mix_folder.write("tools.jsonl", bad)
    other = mix_folder.write("code.jsonl", [json.dumps(rows(1)[0]), "{", '{"prompt": "p"}'])
    tools = MixSource(path="tools.jsonl", record_format=RecordFormat.TOOL_TRACE)
    places = [where for _, where in mix_folder.refused(tools, MixSource(path="code.jsonl"))]
    assert places == [f"{path}:3", *[f"{path}:4"] * 5, f"{other}:2", f"{other}:3"]
    result = mix_folder.mix(tools, MixSource(path="code.jsonl"), on_bad_row=OnBadRow.SKIP)
    assert [dict(each.dropped)["bad_row"] for each in result.report.sources] == [2, 2]
    assert result.report.total == 3
    assert len(result.notes) == 2


def test_problems_beyond_the_cap_are_counted(mix_folder: Any) -> None:
    mix_folder.write("a.jsonl", [" " * n + "{" for n in range(50)])
    problems = mix_folder.refused(MixSource(path="a.jsonl"))
    assert [code for code, _ in problems] == [*["MENS-D005"] * 20, "MENS-D013"]


def test_whole_and_fractional_weights_are_exact(mix_folder: Any) -> None:
    mix_folder.write("a.jsonl", rows(10, "a"))
    mix_folder.write("b.jsonl", rows(10, "b"))
    mix_folder.write("c.jsonl", rows(10, "c"))
    result = mix_folder.mix(
        MixSource(path="a.jsonl", weight=3.0),
        MixSource(path="b.jsonl", weight=1.5),
        MixSource(path="c.jsonl", weight=0.5),
    )
    found = counts(lines_of(result.output))
    by_source = {name: Counter(n for key, n in found.items() if key[0] == name) for name in "abc"}
    assert by_source == {"a": {3: 10}, "b": {1: 5, 2: 5}, "c": {1: 5}}
    a, b, c = result.report.sources
    assert [(each.kept, each.repeats) for each in (a, b, c)] == [(10, 20), (10, 5), (5, 0)]
    shares = [each["share_of_output"] for each in report_of(result)["sources"]]
    assert shares == [0.6, 0.3, 0.1]


@given(
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    weights=st.lists(st.floats(0.05, 4), min_size=3, max_size=3),
    rates=st.lists(st.floats(0.3, 1), min_size=3, max_size=3),
    seed=st.integers(0, 3),
)
def test_every_row_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory,
    mix_folder_at: Callable[[Path], Any],
    sizes: list[int],
    weights: list[float],
    rates: list[float],
    seed: int,
) -> None:
    mix_folder = mix_folder_at(tmp_path_factory.mktemp("mix"))
    sources = []
    for i, size in enumerate(sizes):
        mix_folder.write(f"{i}.jsonl", rows(size, "abc"[i]))
        source = MixSource(
            path=f"{i}.jsonl", weight=weights[i], sample_rate=rates[i], optional=True
        )
        sources.append(source)
    wanted = [
        quota(quota(size, rate), weight)
        for size, rate, weight in zip(sizes, rates, weights, strict=False)
    ]
    if not sum(wanted):
        assert mix_folder.refused(*sources, seed=seed) == [
            ("MENS-D109", str(mix_folder.path / "mix.yaml"))
        ]
        return
    result = mix_folder.mix(*sources, seed=seed)
    assert [each.emitted_rows for each in result.report.sources] == wanted
    for each, size in zip(result.report.sources, sizes, strict=True):
        assert each.input_rows == size == each.kept + sum(each.dropped.values())
    found = counts(lines_of(result.output))
    assert found.total() == result.report.total == sum(wanted)
    assert len(found) == sum(each.kept for each in result.report.sources)


def test_the_same_inputs_and_seed_give_the_same_bytes_wherever_they_lie(
    tmp_path: Path, mix_folder_at: Callable[[Path], Any]
) -> None:
    contents = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        (tmp_path / name).mkdir()
        mix_folder = mix_folder_at(tmp_path / name)
        mix_folder.write("a.jsonl", rows(40, "a"))
        mix_folder.write("b.jsonl", rows(40, "b"))
        sources = (MixSource(path="a.jsonl", weight=0.5), MixSource(path="b.jsonl", weight=1.5))
        result = mix_folder.mix(*sources, seed=seed)
        contents.append((result.output.read_bytes(), result.report_file.read_bytes()))
        assert str(tmp_path).encode() not in contents[-1][1]
    assert contents[0] == contents[1]
    assert contents[0][0] != contents[2][0]
    assert len(contents[0][0].split(b"\n")) == len(contents[2][0].split(b"\n"))


def test_a_source_gives_the_same_rows_whatever_other_sources_are_mixed_in(mix_folder: Any) -> None:
    mix_folder.write("a.jsonl", rows(40, "a"))
    mix_folder.write("b.jsonl", rows(40, "b"))
    half = MixSource(path="a.jsonl", weight=0.5)
    alone = counts(mix_folder.mixed(half))
    beside = counts(mix_folder.mixed(MixSource(path="b.jsonl"), half))
    assert alone == Counter({key: n for key, n in beside.items() if key[0] == "a"})
    assert len(alone) == 20


def test_without_shuffle_the_order_is_that_of_config_and_files(mix_folder: Any) -> None:
    mix_folder.write("a.jsonl", rows(4, "a"))
    mix_folder.write("b.jsonl", rows(4, "b"))
    sources = (MixSource(path="b.jsonl"), MixSource(path="a.jsonl", weight=2.0))
    ordered = [row["response"] for row in mix_folder.mixed(*sources, shuffle=False)]
    assert ordered == [f"{name}{i}" for name in "baa" for i in range(4)]
    mixed = [row["response"] for row in mix_folder.mixed(*sources)]
    assert mixed != ordered
    assert sorted(mixed) == sorted(ordered)


def test_a_sample_is_exact_and_drawn_before_the_weight(mix_folder: Any) -> None:
    mix_folder.write("a.jsonl", rows(20))
    result = mix_folder.mix(MixSource(path="a.jsonl", sample_rate=0.25, weight=2.0))
    (source,) = result.report.sources
    assert (source.kept, source.repeats, source.dropped["sample"]) == (5, 5, 15)


def test_unrated_rows_pass_a_floor_and_rated_ones_below_it_do_not(mix_folder: Any) -> None:
    mix_folder.write(
        "a.jsonl", [*rows(2, "low", rating=2), *rows(2, "top", rating=3), *rows(2, "un")]
    )
    floor = counts(mix_folder.mixed(MixSource(path="a.jsonl"), min_rating=3))
    assert sorted(floor) == ["top0", "top1", "un0", "un1"]
    assert len(mix_folder.mixed(MixSource(path="a.jsonl"))) == 6


def test_lanes_are_included_and_excluded_and_all_pass_by_default(mix_folder: Any) -> None:
    named = [*rows(1, "own", lane="mine"), *rows(1, "doc", category="documentation")]
    mix_folder.write("a.jsonl", [*named, *rows(1, "code")])
    source = MixSource(path="a.jsonl")
    assert len(mix_folder.mixed(source)) == 3
    assert sorted(counts(mix_folder.mixed(source, include_lanes=("mine", "vox_codegen")))) == [
        "code0",
        "own0",
    ]
    result = mix_folder.mix(source, exclude_lanes=("mine", "typo"))
    assert sorted(counts(lines_of(result.output))) == ["code0", "doc0"]
    assert result.report.sources[0].dropped["lane"] == 1
    assert [note for note in result.notes if "typo" in note]
    assert not [note for note in result.notes if "mine" in note]


def test_the_lanes_of_a_report_are_bounded(mix_folder: Any) -> None:
    mix_folder.write("a.jsonl", [{**row, "lane": str(i)} for i, row in enumerate(rows(150))])
    lanes = mix_folder.mix(MixSource(path="a.jsonl")).report.lanes
    assert (len(lanes), lanes[OTHER_LANES]) == (101, 50)


def test_repeated_rows_are_counted_and_left_out_on_request(mix_folder: Any) -> None:
    chat = {
        "messages": [
            {"role": "user", "content": "Write a0."},
            {"role": "assistant", "content": "a0"},
        ]
    }
    mix_folder.write("a.jsonl", [*rows(3, "a"), *rows(1, "a", rating=5)])
    mix_folder.write("b.jsonl", [chat, *rows(2, "b")])
    sources = (MixSource(path="a.jsonl", weight=2.0), MixSource(path="b.jsonl"))
    counted = mix_folder.mix(*sources)
    assert [each.duplicates for each in counted.report.sources] == [1, 1]
    assert counted.report.total == 11
    result = mix_folder.mix(*sources, dedup=True)
    assert [each.dropped["duplicate"] for each in result.report.sources] == [1, 1]
    assert counts(lines_of(result.output)) == {"a0": 2, "a1": 2, "a2": 2, "b0": 1, "b1": 1}


def test_a_row_that_was_not_drawn_is_not_lost_to_its_duplicate(mix_folder: Any) -> None:
    mix_folder.write("a.jsonl", rows(10))
    mix_folder.write("b.jsonl", rows(10))
    sources = (MixSource(path="a.jsonl", sample_rate=0.3), MixSource(path="b.jsonl"))
    result = mix_folder.mix(*sources, dedup=True)
    assert counts(lines_of(result.output)) == {f"f{i}": 1 for i in range(10)}
    assert [each.kept for each in result.report.sources] == [3, 7]


def report_of(result: MixResult) -> dict[str, Any]:
    value = json.loads(result.report_file.read_text(encoding="utf-8"))
    assert isinstance(value, dict)
    assert meets_schema(value, "mix-report")
    return value


def test_the_report_is_beside_the_output_and_names_what_was_read(mix_folder: Any) -> None:
    path = mix_folder.write("a.jsonl", rows(4))
    mix_folder.write("empty.jsonl", b"")
    mix_folder.write("low.jsonl", rows(2, rating=1))
    result = mix_folder.mix(
        MixSource(path="a.jsonl"),
        MixSource(path="no.jsonl", optional=True),
        MixSource(path="gone.jsonl"),
        MixSource(path="off.jsonl", weight=0.0),
        MixSource(path="empty.jsonl", optional=True),
        MixSource(path="low.jsonl", optional=True),
        min_rating=2,
        allow_missing_sources=True,
    )
    report = report_of(result)
    assert result.report_file == mix_folder.output.with_name("mixed.mix_report.json")
    assert [each["skipped_reason"] for each in report["sources"]] == [
        None,
        "missing_file_optional",
        "missing_file",
        "weight_zero",
        "empty_file",
        "no_lines_passed_filters",
    ]
    digest = "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert report["sources"][0]["sha256"] == digest
    output = "sha256:" + hashlib.sha256(result.output.read_bytes()).hexdigest()
    assert (report["output_sha256"], report["output"]) == (output, "mixed.jsonl")
    assert (report["strict"], report["total_rows"]) == (False, 4)
    assert len(result.notes) == 5


def test_rows_that_a_rule_marks_are_left_out(mix_folder: Any) -> None:
    mix_folder.write("rules.toml", SOURCE_RULES.read_bytes())
    old = {"prompt": "c", "response": "VOX_EMIT_EXPRESS_SERVER=1"}
    rows = [{"prompt": "a", "response": "b"}, old]
    mix_folder.write("a.jsonl", rows)
    source = MixSource(path="a.jsonl")
    assert len(mix_folder.mixed(source)) == 2
    report = mix_folder.mix(source, legacy_rules="rules.toml").report
    assert report.total == 1
    assert report.sources[0].dropped[MixDrop.LEGACY] == 1
    assert report.as_json()["legacy_rules"] == "rules.toml"
    assert meets_schema(report.as_json(), "mix-report")
    with pytest.raises(ConfigError):
        mix_folder.mix(source, legacy_rules="none.toml")
    mix_folder.output = mix_folder.path / "rules.toml"
    assert mix_folder.refused(source, legacy_rules="rules.toml")[0][0] == "MENS-D111"
