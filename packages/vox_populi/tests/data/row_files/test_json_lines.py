from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vox_populi.data.row_files.json_lines import JsonLinesFile, scan_part
from vox_populi.data.row_files.row_file import FileRow, is_about_file, row_places
from vox_populi.errors import DataError
from vox_tensor.errors import Problem

Found = FileRow | Problem

LINES = st.lists(
    st.sampled_from(
        [b'{"a": 1}', b'{"b": "' + b"x" * 300 + b'"}', b"", b"  ", b"\t\r", b"{", b"[]", b"\xff"]
    ),
    max_size=30,
)


def written(folder: Path, content: bytes) -> JsonLinesFile:
    path = folder / "rows.jsonl"
    path.write_bytes(content)
    return JsonLinesFile(path)


@given(lines=LINES, mark=st.sampled_from([b"", b"\xef\xbb\xbf"]), most=st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_parts_together_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], mark: bytes, most: int
) -> None:
    rows = written(tmp_path_factory.mktemp("parts"), mark + b"\n".join(lines))
    parts = rows.parts(most)
    assert 1 <= len(parts) <= most
    assert [item for part in parts for item in scan_part(part)] == list(rows.scan())


def test_parts_are_of_about_equal_size(tmp_path: Path) -> None:
    rows = written(tmp_path, b'{"a": 1}\n' * 1000)
    counts = [len(list(scan_part(part))) for part in rows.parts(4)]
    assert len(counts) == 4
    assert max(counts) - min(counts) <= 2


def test_any_row_is_read_again_by_its_index(tmp_path: Path) -> None:
    rows = written(tmp_path, b'{"a": 1}\n{\n\n{"a": 4}')
    assert len(rows) == 4
    found = [item for item in rows.scan() if isinstance(item, FileRow)]
    assert [rows.read(item.index) for item in found] == found
    assert [item.place for item in found] == [f"{rows.name}:1", f"{rows.name}:4"]
    with pytest.raises(DataError, match="MENS-D005"):
        rows.read(2)


def test_a_change_is_an_error_and_a_touch_is_none(tmp_path: Path) -> None:
    rows = written(tmp_path, b'{"a": 1}\n{"a": 2}\n')
    content = rows.path.read_bytes()
    rows.path.write_bytes(content)
    rows.check_unchanged()
    assert rows.read(2).value == {"a": 2}
    rows.path.write_bytes(content.replace(b"2", b"3"))
    with pytest.raises(DataError, match="MENS-D048"):
        rows.check_unchanged()
    with pytest.raises(DataError, match="MENS-D048"):
        rows.read(2)


def test_a_file_in_another_format_is_one_problem_about_the_file(tmp_path: Path) -> None:
    rows = written(tmp_path, b"PAR1....")
    (problem,) = rows.scan()
    assert isinstance(problem, Problem)
    assert problem.code == "MENS-D130"
    assert is_about_file(problem, rows)
    with pytest.raises(DataError, match="MENS-D130"):
        rows.parts(2)


def test_places_of_several_rows_name_the_file_once(tmp_path: Path) -> None:
    rows = written(tmp_path, b'{"a": 1}\n' * 3)
    assert row_places(rows, [1, 3]) == f"{rows.path}:1,3"
