from __future__ import annotations

import datetime
import decimal
from pathlib import Path
from typing import Any

import pytest

from vox_populi.data.row_files.open_rows import open_rows
from vox_populi.data.row_files.row_file import FileRow
from vox_tensor.errors import Problem

pa: Any = pytest.importorskip("pyarrow", reason="needs vox-populi[parquet]")
parquet: Any = pytest.importorskip("pyarrow.parquet", reason="needs vox-populi[parquet]")

MESSAGES = [
    {"role": "user", "content": "é", "tool_calls": None},
    {"role": "assistant", "content": "b\n", "tool_calls": [{"name": "f"}]},
]
ROWS = [{"messages": MESSAGES, "n": n, "category": f"c{n % 3}"} for n in range(300)]


def write(path: Path, table: Any, form: str, **options: Any) -> Path:
    if form == "parquet":
        parquet.write_table(table, path, **options)
        return path
    maker = pa.ipc.new_stream if form == "arrow" else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as sink, maker(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=50)
    return path


def found(path: Path) -> list[dict[str, object]]:
    items = list(open_rows(path).scan())
    assert all(isinstance(item, FileRow) for item in items), items[0]
    return [item.value for item in items if isinstance(item, FileRow)]


@pytest.mark.parametrize("form", ["parquet", "arrow", "feather"])
def test_nested_rows_are_those_that_were_written(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "train.jsonl", pa.Table.from_pylist(ROWS), form)
    assert found(path) == ROWS
    assert open_rows(path).place(7) == f"{path}:row:7"
    assert open_rows(path).read(300).value == ROWS[-1]


def test_row_groups_are_read_one_after_another(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    path = write(tmp_path / "a", table, "parquet", row_group_size=7, compression="zstd")
    assert found(path) == ROWS


def test_values_without_json_become_what_people_mean(tmp_path: Path) -> None:
    values = {
        "text": "a",
        "missing": float("nan"),
        "much": float("inf"),
        "decimal": decimal.Decimal("1.50"),
        "day": datetime.date(2026, 1, 2),
        "moment": datetime.datetime(2026, 1, 2, 3, 4, 5),
        "bytes": b"abc",
        "picture": b"\xff\xd8\xff",
        "nothing": None,
    }
    path = write(tmp_path / "a", pa.Table.from_pylist([values]), "parquet")
    assert found(path) == [
        {
            "text": "a",
            "missing": None,
            "much": None,
            "decimal": 1.5,
            "day": "2026-01-02",
            "moment": "2026-01-02T03:04:05",
            "bytes": "abc",
            "picture": None,
            "nothing": None,
        }
    ]


def test_maps_and_dictionaries_are_objects_and_text(tmp_path: Path) -> None:
    table = pa.table(
        {
            "m": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
            "d": pa.array(["x"]).dictionary_encode(),
        }
    )
    assert found(write(tmp_path / "a", table, "parquet")) == [{"m": {"a": 1}, "d": "x"}]


@pytest.mark.parametrize("form", ["parquet", "arrow", "feather"])
def test_a_damaged_file_is_one_problem_about_it(tmp_path: Path, form: str) -> None:
    path = write(tmp_path / "a", pa.Table.from_pylist(ROWS), form)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-4], whole[:40], whole[:8]):
        path.write_bytes(content)
        items = [item for item in open_rows(path).scan() if isinstance(item, Problem)]
        if form == "arrow" and content == whole[:-4]:
            continue  # Only the mark of the end is cut off; all rows are there.
        assert [(item.code, item.where) for item in items] == [("MENS-D170", str(path))]


def test_text_that_is_not_utf8_is_damage(tmp_path: Path) -> None:
    good = pa.array([b"a", b"\xff", b"c"]).cast(pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 3, good.buffers())
    path = write(tmp_path / "a", pa.table({"text": broken}), "arrow")
    (problem,) = open_rows(path).scan()
    assert isinstance(problem, Problem)
    assert problem.code == "MENS-D170"


def test_offsets_that_lead_out_of_the_file_are_damage(tmp_path: Path) -> None:
    # Without a check of them, the library ends the process.
    far = b"\0\0\0\0\xff\xff\xff\x0f"
    for form in ("arrow", "feather"):
        path = tmp_path / form
        whole = write(path, pa.table({"text": ["x" * 1000]}), form).read_bytes()
        offsets = whole.rindex(b"\0\0\0\0\xe8\x03\0\0")
        path.write_bytes(whole[:offsets] + far + whole[offsets + len(far) :])
        (problem,) = open_rows(path).scan()
        assert isinstance(problem, Problem)
        assert problem.code == "MENS-D170"
