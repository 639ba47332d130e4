from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from vox_populi.corpus.mix_config import MixSource
from vox_populi.corpus.tool_trace import RecordFormat
from vox_populi.errors import ConfigError, DataError

Rows = list[dict[str, Any]]


TRACE: dict[str, Any] = {
    "task_prompt": "List the folder.",
    "tool_name": "shell",
    "arguments_json": "{}",
    "result_json": "[]",
    "success": True,
}


def rows(count: int, name: str = "f", **fields: object) -> Rows:
    return [
        {"prompt": f"Write {name}{i}.", "response": f"{name}{i}", **fields} for i in range(count)
    ]


def test_every_missing_required_source_is_named(mix_folder: Any) -> None:
    mix_folder.write("a.jsonl", rows(1))
    sources = [MixSource(path=name, where=f"m:{name}") for name in ("a.jsonl", "b", "c")]
    assert mix_folder.refused(*sources) == [("MENS-D107", "m:b"), ("MENS-D107", "m:c")]
    assert mix_folder.mix(*sources, allow_missing_sources=True).report.total == 1


def test_a_required_source_must_give_rows(mix_folder: Any) -> None:
    mix_folder.write("a.jsonl", rows(1))
    mix_folder.write("low.jsonl", rows(2, rating=1))
    mix_folder.write("empty.jsonl", b"\n")
    for name in ("low.jsonl", "empty.jsonl"):
        sources = (MixSource(path="a.jsonl"), MixSource(path=name, where="m:2"))
        assert mix_folder.refused(*sources, min_rating=2) == [("MENS-D108", "m:2")]
        relaxed = mix_folder.refused(*sources, min_rating=2, allow_missing_sources=True)
        assert relaxed == [("MENS-D108", "m:2")], "it is there, so nothing is missing"


def test_an_empty_mix_is_refused(mix_folder: Any) -> None:
    place = str(mix_folder.path / "mix.yaml")
    gone = MixSource(path="gone.jsonl")
    assert mix_folder.refused(gone, allow_missing_sources=True) == [("MENS-D109", place)]
    assert mix_folder.refused(MixSource(path="a", weight=0.0)) == [("MENS-D109", place)]


def test_lines_are_read_as_the_trainer_reads_them(mix_folder: Any) -> None:
    first, second = (json.dumps(row, ensure_ascii=False) for row in rows(2, "ü\u2028"))
    mix_folder.write("a.jsonl", b"\xef\xbb\xbf" + f"{first}\r\n{second}".encode())
    found = mix_folder.mixed(MixSource(path="a.jsonl"), shuffle=False)
    assert [row["response"] for row in found] == ["ü\u20280", "ü\u20281"]
    assert "\u2028" not in mix_folder.output.read_text(encoding="utf-8")


def test_inputs_are_never_written(mix_folder: Any) -> None:
    mix_folder.write("a.jsonl", rows(5))
    mix_folder.write("t.jsonl", [TRACE] * 5)
    mix_folder.write("mix.yaml", ["sources: []"])
    before = mix_folder.content()
    mix_folder.mix(
        MixSource(path="a.jsonl", weight=1.5),
        MixSource(path="t.jsonl", record_format=RecordFormat.TOOL_TRACE),
    )
    after = mix_folder.content()
    assert {path: after[path] for path in before} == before
    assert len(after) == len(before) + 2


def by_name(mix_folder: Any, source: Path) -> None:
    mix_folder.output = source


def by_other_spelling(mix_folder: Any, source: Path) -> None:
    mix_folder.output = source.parent / "x" / ".." / source.name
    (source.parent / "x").mkdir()


def by_symlink(mix_folder: Any, source: Path) -> None:
    mix_folder.output = source.with_name("link.jsonl")
    mix_folder.output.symlink_to(source)


def by_hard_link(mix_folder: Any, source: Path) -> None:
    mix_folder.output = source.with_name("hard.jsonl")
    os.link(source, mix_folder.output)


def as_config(mix_folder: Any, source: Path) -> None:
    mix_folder.output = mix_folder.path / "mix.yaml"


def as_missing_source(mix_folder: Any, source: Path) -> None:
    mix_folder.output = mix_folder.path / "gone.jsonl"


def as_report(mix_folder: Any, source: Path) -> None:
    mix_folder.output = mix_folder.path / "rows.jsonl"
    (mix_folder.path / "rows.mix_report.json").symlink_to(source)


@pytest.mark.parametrize(
    "place",
    [by_name, by_other_spelling, by_symlink, by_hard_link, as_config, as_missing_source, as_report],
)
def test_an_output_that_is_an_input_is_refused(
    mix_folder: Any, place: Callable[[Any, Path], None]
) -> None:
    mix_folder.write("mix.yaml", ["x"])
    place(mix_folder, mix_folder.write("a.jsonl", rows(3)))
    sources = (MixSource(path="a.jsonl"), MixSource(path="gone.jsonl", optional=True))
    assert [code for code, _ in mix_folder.refused(*sources)] == ["MENS-D111"]
    mix_folder.output = mix_folder.path / "fresh.jsonl"
    assert mix_folder.mix(*sources).report.total == 3


def test_a_folder_in_the_way_is_refused(mix_folder: Any) -> None:
    mix_folder.write("a.jsonl", rows(3))
    mix_folder.output.mkdir(parents=True)
    assert mix_folder.refused(MixSource(path="a.jsonl")) == [("MENS-D002", str(mix_folder.output))]


def test_only_force_replaces_other_content(mix_folder: Any) -> None:
    mix_folder.write("a.jsonl", rows(9))
    source = MixSource(path="a.jsonl")
    first = mix_folder.mix(source, force=False)
    before = mix_folder.content()
    assert mix_folder.mix(source, force=False).report == first.report
    assert mix_folder.content() == before, "the same mix again is no conflict"
    assert mix_folder.refused(source, force=False, seed=1) == [
        ("MENS-D110", str(mix_folder.output))
    ]
    mix_folder.mix(source, seed=1)
    assert mix_folder.content().keys() == before.keys()
    assert mix_folder.content() != before


def test_a_link_to_nowhere_is_in_the_way_and_is_replaced_not_followed(mix_folder: Any) -> None:
    mix_folder.write("a.jsonl", rows(3))
    mix_folder.output = mix_folder.path / "link.jsonl"
    mix_folder.output.symlink_to(mix_folder.path / "elsewhere.jsonl")
    refused = mix_folder.refused(MixSource(path="a.jsonl"), force=False)
    assert refused == [("MENS-D110", str(mix_folder.output))]
    mix_folder.mix(MixSource(path="a.jsonl"))
    assert not mix_folder.output.is_symlink()
    assert not (mix_folder.path / "elsewhere.jsonl").exists()


@pytest.mark.parametrize("fault", ["once", "from then on", "kill"])
@pytest.mark.parametrize("has_old", [False, True])
def test_a_fault_at_every_single_write_leaves_old_or_new_rows(
    mix_folder: Any, write_faults: Any, fault: str, has_old: bool
) -> None:
    kind = type(write_faults.fault)(fault)
    mix_folder.write("a.jsonl", rows(6))
    inputs = mix_folder.content()
    source = MixSource(path="a.jsonl")
    expected = mix_folder.mix(source, seed=1).output.read_bytes()
    n_faults = 0
    for at in range(1, 100):
        mix_folder.output = mix_folder.path / str(at) / "mixed.jsonl"
        old = mix_folder.mix(source, seed=0).output.read_bytes() if has_old else None
        write_faults.arm(kind, at)
        try:
            mix_folder.mix(source, seed=1)
            failure: BaseException | None = None
        except BaseException as error:  # noqa: BLE001 - a kill is one
            failure = error
        fired = write_faults.fired
        write_faults.disarm()
        n_faults += fired
        found = mix_folder.output.read_bytes() if mix_folder.output.exists() else None
        assert found in (old, expected)
        assert failure is not None or found == expected
        if found == expected:
            digest = "sha256:" + hashlib.sha256(expected).hexdigest()
            report = mix_folder.output.with_name("mixed.mix_report.json")
            assert json.loads(report.read_bytes())["output_sha256"] == digest
        if fault == "once":
            names = {path.name for path in mix_folder.output.parent.glob("*")}
            assert names <= {"mixed.jsonl", "mixed.mix_report.json"}
        if not fired:
            break
    assert n_faults > 10
    assert {path: mix_folder.content()[path] for path in inputs} == inputs


def test_a_full_disk_names_the_file_that_was_written(
    mix_folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    mix_folder.write("a.jsonl", rows(3))
    with monkeypatch.context() as patch:
        patch.setattr("vox_populi.corpus.mix.os.fsync", full)
        with pytest.raises(OSError, match="No space left") as caught:
            mix_folder.mix(MixSource(path="a.jsonl"))
    assert caught.value.filename == str(mix_folder.output)
    assert not list(mix_folder.output.parent.glob(".*.tmp"))


def test_what_a_killed_mix_left_goes_with_the_next_also_where_nothing_changed(
    mix_folder: Any,
) -> None:
    mix_folder.write("a.jsonl", rows(3))
    source = MixSource(path="a.jsonl")
    for _ in range(2):
        left = mix_folder.output.with_name(f".{mix_folder.output.name}.7.tmp")
        left.parent.mkdir(exist_ok=True)
        left.write_bytes(b"rows")
        mix_folder.mix(source, force=False)
        assert not left.exists()


def test_a_source_that_changes_while_it_is_mixed_is_refused(
    mix_folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = mix_folder.write("a.jsonl", rows(5))
    for changed in (rows(5, "g"), rows(1), ["{" * 9] * 30):

        def shuffle_and_change(*_: object, lines: Any = changed) -> None:
            mix_folder.write("a.jsonl", lines)

        mix_folder.write("a.jsonl", rows(5))
        with monkeypatch.context() as patch:
            patch.setattr("vox_populi.corpus.mix.shuffle", shuffle_and_change)
            with pytest.raises(DataError) as caught:
                mix_folder.mix(MixSource(path="a.jsonl"))
        problems = [(each.code, each.where) for each in caught.value.problems]
        assert problems == [("MENS-D048", str(path))]
        assert not list(mix_folder.path.rglob("*mixed*"))
    mix_folder.write("a.jsonl", rows(5))
    assert mix_folder.mix(MixSource(path="a.jsonl")).report.total == 5


def special(mix_folder: Any, kind: str) -> None:
    path = mix_folder.path / "a.jsonl"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_only_regular_files_are_read(mix_folder: Any, kind: str) -> None:
    if kind != "folder" and not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with a name")
    special(mix_folder, kind)
    for optional in (False, True):
        refused = mix_folder.refused(MixSource(path="a.jsonl", optional=optional))
        assert refused == [("MENS-D002", str(mix_folder.path / "a.jsonl"))]


def test_one_file_under_two_names_is_refused(mix_folder: Any) -> None:
    path = mix_folder.write("a.jsonl", rows(3))
    (mix_folder.path / "b.jsonl").symlink_to(path)
    os.link(path, mix_folder.path / "c.jsonl")
    for name in ("a.jsonl", "./a.jsonl", "b.jsonl", "c.jsonl"):
        sources = (MixSource(path="a.jsonl", where="m:1"), MixSource(path=name, where="m:2"))
        with pytest.raises(ConfigError, match=r"MENS-D105.*m:1"):
            mix_folder.mix(*sources)


def test_values_of_rows_survive(mix_folder: Any) -> None:
    value: Mapping[str, object] = {
        "instruction": "Add.",
        "input": "1 2",
        "output": "3",
        "big": 10**30,
        "nested": {"b": [None, True, 0.1], "a": "é"},
    }
    mix_folder.write("a.jsonl", [dict(value)])
    (found,) = mix_folder.mixed(MixSource(path="a.jsonl"))
    assert {key: found[key] for key in value} == value
    assert list(found)[: len(value)] == list(value)
