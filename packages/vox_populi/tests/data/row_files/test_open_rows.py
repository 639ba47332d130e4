from __future__ import annotations

import gzip
import io
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from vox_populi import extras
from vox_populi.data.row_files import content_stream, row_spool
from vox_populi.data.row_files.joined_rows import open_all_rows
from vox_populi.data.row_files.json_lines import scan_part
from vox_populi.data.row_files.open_rows import open_rows
from vox_populi.data.row_files.row_file import FileRow, RowFile, is_about_file
from vox_populi.errors import DataError, EnvironmentFailure, MissingExtraError
from vox_populi.files.folder_lock import lock_holder
from vox_tensor.errors import Problem

ROWS: list[dict[str, object]] = [
    {"prompt": "a, b\nc", "response": 'say "hi" [1, {2}]'},
    {"prompt": "é\u2028 😀 \\ ,", "response": "x" * 100},
    {"messages": [{"role": "user", "content": "]}"}, {"role": "assistant", "content": "\n"}]},
]


def lines(rows: list[dict[str, object]] = ROWS) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def zstd(data: bytes) -> bytes:
    module = pytest.importorskip("zstandard", reason="needs vox-populi[zstd]")
    packed: bytes = module.ZstdCompressor().compress(data)
    return packed


SHAPES: dict[str, Callable[[], bytes]] = {
    "lines": lines,
    "array": lambda: json.dumps(ROWS).encode(),
    "array indented": lambda: json.dumps(ROWS, indent=2, ensure_ascii=False).encode(),
    "array of lines": lambda: b"[\n" + lines().strip().replace(b"}\n{", b"},\n{") + b"\n]\n",
    "array with a mark": lambda: b"\xef\xbb\xbf \n" + json.dumps(ROWS, indent=1).encode() + b"\n\n",
    "documents": lambda: "\n".join(json.dumps(row, indent=4) for row in ROWS).encode(),
    "utf-16": lambda: lines().decode().encode("utf-16"),
    "array in utf-16": lambda: json.dumps(ROWS, indent=2).encode("utf-16"),
}
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".gz members": lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:]),
    ".zst": zstd,
    ".zst frames": lambda data: zstd(data[:50]) + zstd(data[50:]),
}


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def found(rows: RowFile) -> list[dict[str, object]]:
    items = list(rows.scan())
    assert all(isinstance(item, FileRow) for item in items), items
    return [item.value for item in items if isinstance(item, FileRow)]


def findings(path: Path) -> list[str]:
    """Code and place of each problem; the file's own in front if it cannot be opened."""
    try:
        items = list(open_rows(path).scan())
    except DataError as error:
        items = list(error.problems)
    problems = [item for item in items if isinstance(item, Problem)]
    assert all("private" not in str(problem) for problem in problems)
    return [f"{p.code}{(p.where or '').removeprefix(str(path))}" for p in problems]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("shape", SHAPES)
def test_content_decides_whatever_the_name(tmp_path: Path, shape: str, packing: str) -> None:
    path = written(tmp_path, "train.jsonl", PACKINGS[packing](SHAPES[shape]()))
    rows = open_rows(path)
    assert found(rows) == ROWS
    assert found(rows) == ROWS, "a second scan"
    assert len(rows) == 3
    assert [rows.read(index).value for index in (3, 1, 2)] == [ROWS[2], ROWS[0], ROWS[1]]
    parts = [item for part in rows.parts(2) for item in scan_part(part)]
    assert parts == list(rows.scan())


def test_places_count_what_the_format_has(tmp_path: Path) -> None:
    array = open_rows(written(tmp_path, "a.json", json.dumps(ROWS, indent=2).encode()))
    table = open_rows(written(tmp_path, "a.csv", b"prompt,response\na,b\n"))
    packed = open_rows(written(tmp_path, "a.jsonl.gz", gzip.compress(lines())))
    assert array.place(2) == f"{tmp_path}/a.json:element:2"
    assert table.place(1) == f"{tmp_path}/a.csv:row:1"
    assert packed.place(3) == f"{tmp_path}/a.jsonl.gz:3"


def test_a_broken_element_is_one_problem(tmp_path: Path) -> None:
    good = '{"a": 1}'
    bad = ['{"a": private}', "7", '{"a": NaN}', '{"a": 1, "a": 2}', '{"a": "x\ny"}', "", '["a"]']
    path = written(tmp_path, "a.json", ("[" + ",\n".join([good, *bad, good]) + "]").encode())
    codes = ["MENS-D005", "MENS-D164", "MENS-D007", "MENS-D006", "MENS-D005", *["MENS-D164"] * 2]
    assert findings(path) == [f"{code}:element:{n}" for n, code in enumerate(codes, 2)]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('[{"a": 1}, {"b"', "MENS-D162"),
        ('[{"a": 1}', "MENS-D162"),
        ('[\n{"a": "x', "MENS-D162"),
        ('[\n{"a": "x\\', "MENS-D162"),
        ("[\n", "MENS-D162"),
        ('[{"a": 1}] {"b": 2}', "MENS-D163"),
        ('{\n"a": 1}\n{\n"b"', "MENS-D162"),
    ],
)
def test_an_array_that_does_not_end_is_one_problem(tmp_path: Path, text: str, code: str) -> None:
    assert findings(written(tmp_path, "a.json", text.encode())) == [code]


def test_empty_files_have_no_rows(tmp_path: Path) -> None:
    for content in (b"[]", b" [ ]\n", b"", gzip.compress(b""), gzip.compress(b"[\n]")):
        assert found(open_rows(written(tmp_path, "a.json", content))) == []


def test_an_element_beyond_the_limit_is_passed_over(tmp_path: Path) -> None:
    huge = '{"a": "' + "\\n" * (5 * 2**20) + '"}'
    path = written(tmp_path, "a.json", f'[{{"b": 1}},\n{huge},{{"c": 2}}]'.encode())
    items = list(open_rows(path).scan())
    assert [item.value for item in items if isinstance(item, FileRow)] == [{"b": 1}, {"c": 2}]
    assert findings(path) == ["MENS-D171:element:2"]


@pytest.mark.parametrize("packing", [".gz", ".zst"])
def test_a_damaged_file_is_one_problem_about_it(tmp_path: Path, packing: str) -> None:
    whole = PACKINGS[packing](lines(ROWS * 50))
    for content in (whole[:-9], whole[: len(whole) // 2], whole[:30] + b"\0" * 40 + whole[70:]):
        path = written(tmp_path, "a.jsonl", content)
        try:
            rows = open_rows(path)
            (problem,) = rows.scan()
        except DataError as error:
            (problem,) = error.problems
        assert isinstance(problem, Problem)
        assert problem.code == "MENS-D160"
        assert problem.where == str(path)


def test_a_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_stream, "MOST_BYTES_UNQUESTIONED", 2**16)
    path = written(tmp_path, "a.jsonl", gzip.compress(b"\n" * 2**22))
    rows = open_rows(path)
    (problem,) = rows.scan()
    assert isinstance(problem, Problem)
    assert problem.code == "MENS-D161"
    assert is_about_file(problem, rows)


def test_rows_far_larger_than_their_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_spool, "MOST_BYTES_UNQUESTIONED", 10)
    monkeypatch.setattr(row_spool, "MOST_TIMES_LARGER", 0)
    assert findings(written(tmp_path, "a.json", json.dumps(ROWS).encode())) == ["MENS-D161"]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"PK\x03\x04\x14\x00", "ZIP"),
        (b"SQLite format 3\x00", "SQLite"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"\x00\x01\x02", "binary"),
        (b"just some words\nin two lines\n", "text"),
        (gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), "gzip"),
        (gzip.compress(b"PAR1", mtime=0), "Parquet"),
        (b"\x80\x04\x95", "pickle"),
    ],
)
def test_a_file_without_rows_is_one_line_that_says_what_it_is(
    tmp_path: Path, content: bytes, kind: str
) -> None:
    with pytest.raises(DataError) as caught:
        open_rows(written(tmp_path, "rows", content))
    (problem,) = caught.value.problems
    assert problem.code == "MENS-D172"
    assert kind in problem.what


def test_json_lines_that_are_all_broken_keep_their_lines(tmp_path: Path) -> None:
    assert findings(written(tmp_path, "a.jsonl", b"private\nnot, private\n")) == [
        "MENS-D005:1",
        "MENS-D005:2",
    ]


def test_without_its_extra_a_format_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda _module: False)
    for content, line in ((b"\x28\xb5\x2f\xfd__", "zstandard"), (b"PAR1____", "pyarrow")):
        with pytest.raises(MissingExtraError) as caught:
            open_rows(written(tmp_path, "a", content))
        assert f'pip install "{line}' in caught.value.problems[0].fix


def test_a_full_disk_is_a_problem_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "nowhere"))
    rows = open_rows(written(tmp_path, "a.json", b"[]"))
    row_spool.spool_folder.cache_clear()
    with pytest.raises(EnvironmentFailure, match="MENS-D173"):
        list(rows.scan())


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spools = tmp_path / "spools"
    spools.mkdir()
    monkeypatch.setenv("TMPDIR", str(spools))
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(spools))
    killed = spools / "vox-mens-rows-killed"
    killed.mkdir()
    os.utime(killed, (0, 0))
    row_spool.spool_folder.cache_clear()
    rows = open_rows(written(tmp_path, "a.json", b'[{"a": 1}]'))
    assert found(rows) == [{"a": 1}]
    (own,) = spools.iterdir()
    assert own != killed
    assert lock_holder(own) is not None
    assert len(list(own.glob("*.jsonl"))) == 1
    del rows
    assert list(own.glob("*.jsonl")) == []
    row_spool.spool_folder.cache_clear()


def test_a_change_after_the_scan_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", b'[{"a": 1}]')
    rows = open_rows(path)
    assert found(rows) == [{"a": 1}]
    path.write_bytes(b'[{"a": 2}]')
    assert rows.read(1).value == {"a": 1}
    with pytest.raises(DataError, match="MENS-D048"):
        rows.check_unchanged()


def test_text_is_rows_by_heading_and_paragraph(tmp_path: Path) -> None:
    text = "Intro.\n\n# One\n\na b\n\n```\n# code\n\nmore\n```\n\n## Two\nc\n"
    rows = found(open_rows(written(tmp_path, "notes.md", text.encode())))
    assert [row["source"] for row in rows] == ["notes.md"] * 3
    assert [row["text"] for row in rows] == [
        "Intro.",
        "# One\n\na b\n\n```\n# code\n\nmore\n```",
        "## Two\nc",
    ]


def test_no_text_is_lost_and_no_row_is_too_long(tmp_path: Path) -> None:
    words = " ".join(f"word{n}" for n in range(3000))
    text = f"{words}\n\nshort, one\nshort, two\n\n" + "y" * 9000
    rows = found(open_rows(written(tmp_path, "notes.txt", text.encode())))
    texts = [str(row["text"]) for row in rows]
    assert max(map(len, texts)) <= 2000
    assert "".join("".join(texts).split()) == "".join(text.split())


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    assert findings(written(tmp_path, "a.txt", b"caf\xe9 au lait\n")) == ["MENS-D169"]


def test_reading_takes_no_memory_for_the_whole(tmp_path: Path) -> None:
    content = io.BytesIO()
    with gzip.GzipFile(fileobj=content, mode="wb") as packed:
        for _ in range(20):
            packed.write(lines(ROWS) * 10)
    rows = open_rows(written(tmp_path, "a.jsonl.gz", content.getvalue()))
    assert len(rows) == 600


def test_the_size_of_rows_of_text_is_a_setting(tmp_path: Path) -> None:
    text = "one two three four. " * 40
    paths = [tmp_path / "a.txt", tmp_path / "b.md"]
    for path in paths:
        path.write_text(text, encoding="utf-8")

    def rows(size: int, *files: Path) -> list[str]:
        found = open_all_rows(files, size).scan()
        return [str(row.value["text"]) for row in found if isinstance(row, FileRow)]

    assert len(rows(2000, paths[0])) == 1
    assert len(rows(100, paths[0])) == 8
    assert max(map(len, rows(100, *paths))) <= 100
    assert len(rows(100, *paths)) == 2 * len(rows(100, paths[0]))
    digests = {open_all_rows(paths, size).digest for size in (2000, 100, 101)}
    assert len(digests) == 3
    assert open_all_rows(paths).digest in digests
