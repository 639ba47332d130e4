from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from vox_populi.data.row_files.joined_rows import open_all_rows
from vox_populi.data.row_files.json_lines import scan_part
from vox_populi.data.row_files.row_file import FileRow, row_places
from vox_populi.errors import DataError
from vox_tensor.errors import Problem


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    contents = {
        "a.jsonl": b'{"n": 1}\n{"n": 2}\n',
        "b.csv": b"n,x\n3,y\n4,z\n",
        "c.json.gz": gzip.compress(json.dumps([{"n": 5}], indent=1).encode()),
        "d.md": b"# D\n\nsix\n",
        "e.txt": b"seven\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return [tmp_path / name for name in contents]


def rows_of(items: list[FileRow | Problem]) -> list[FileRow]:
    assert all(isinstance(item, FileRow) for item in items), items
    return [item for item in items if isinstance(item, FileRow)]


def test_files_follow_each_other_with_one_index(paths: list[Path]) -> None:
    rows = open_all_rows(paths)
    found = rows_of(list(rows.scan()))
    assert [row.value.get("n", row.value.get("text")) for row in found] == [
        *(1, 2, "3", "4", 5),
        *("# D\n\nsix", "seven"),
    ]
    assert [row.index for row in found] == [1, 2, 3, 4, 5, 6, 7]
    assert [rows.read(row.index) for row in found] == found
    assert [rows.place(row.index) for row in found] == [row.place for row in found]
    assert found[4].place == f"{paths[2]}:element:1"
    assert [row.value["source"] for row in found[5:]] == ["d.md", "e.txt"]
    assert len(rows) == 7
    for most in (1, 2, 20):
        assert [item for part in rows.parts(most) for item in scan_part(part)] == found


def test_every_file_counts_in_the_digest(paths: list[Path]) -> None:
    rows = open_all_rows(paths)
    assert [each.name for each in rows.contents] == [path.name for path in paths]
    assert open_all_rows(paths[:1]).digest == rows.contents[0].digest
    assert open_all_rows(paths[::-1]).digest != rows.digest == open_all_rows(paths).digest


def test_places_of_rows_are_grouped_by_file(paths: list[Path]) -> None:
    rows = open_all_rows(paths)
    assert row_places(rows, [1, 2, 4]) == f"{paths[0]}:1,2 {paths[1]}:row:2"


def test_every_file_that_cannot_be_opened_is_reported(paths: list[Path]) -> None:
    paths[0].unlink()
    paths[1].write_bytes(b"%PDF-1.4")
    with pytest.raises(DataError) as caught:
        open_all_rows(paths)
    assert [each.code for each in caught.value.problems] == ["MENS-D001", "MENS-D172"]


def test_a_file_that_breaks_off_does_not_hide_the_next(paths: list[Path]) -> None:
    paths[2].write_bytes(gzip.compress(b'[\n{"n": 5}'))
    paths[3].write_bytes(b"\xff")
    items = list(open_all_rows(paths).scan())
    problems = [(item.code, item.where) for item in items if isinstance(item, Problem)]
    assert problems == [("MENS-D162", str(paths[2])), ("MENS-D169", str(paths[3]))]


def test_a_change_of_any_file_is_noticed(paths: list[Path]) -> None:
    rows = open_all_rows(paths)
    rows.check_unchanged()
    paths[4].write_bytes(b"other")
    with pytest.raises(DataError, match="MENS-D048"):
        rows.check_unchanged()
