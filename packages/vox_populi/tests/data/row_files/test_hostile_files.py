"""Whatever bytes a file has, it gives rows and problems with places, or one problem of the file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vox_populi.data.row_files.open_rows import open_rows
from vox_populi.data.row_files.row_file import FileRow
from vox_populi.errors import DataError
from vox_tensor.errors import Problem

ROWS = [{"prompt": f'a "{n}", \n\\', "response": [n, None, {"b": 1.5}]} for n in range(20)]


def parquet(path: Path) -> bytes:
    arrow: Any = pytest.importorskip("pyarrow", reason="needs vox-populi[parquet]")
    writer: Any = pytest.importorskip("pyarrow.parquet", reason="needs vox-populi[parquet]")
    rows = [{"prompt": str(row["prompt"]), "n": 1.5} for row in ROWS]
    writer.write_table(arrow.Table.from_pylist(rows), path)
    return path.read_bytes()


def arrow_stream(path: Path) -> bytes:
    arrow: Any = pytest.importorskip("pyarrow", reason="needs vox-populi[parquet]")
    table = arrow.Table.from_pylist([{"prompt": str(row["prompt"])} for row in ROWS])
    with arrow.OSFile(str(path), "wb") as sink, arrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return path.read_bytes()


def zstd(_path: Path) -> bytes:
    module = pytest.importorskip("zstandard", reason="needs vox-populi[zstd]")
    packed: bytes = module.ZstdCompressor().compress(json.dumps(ROWS).encode())
    return packed


MADE: dict[str, Callable[[Path], bytes]] = {
    "array": lambda _: json.dumps(ROWS, indent=1).encode(),
    "lines": lambda _: b"".join(json.dumps(row).encode() + b"\n" for row in ROWS),
    "table": lambda _: b'prompt,response\n"a,\n""b""",c\n' * 10,
    "gzip": lambda _: gzip.compress(json.dumps(ROWS).encode()),
    "utf-16": lambda _: json.dumps(ROWS, indent=1).encode("utf-16"),
    "text": lambda _: b"# One\n\ntwo, three\n\n```\ncode\n```\n" * 5,
    "zstd": zstd,
    "parquet": parquet,
    "arrow": arrow_stream,
}
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 8), st.binary(max_size=6)), min_size=1, max_size=4
)


def read(path: Path) -> list[FileRow | Problem]:
    try:
        return list(open_rows(path).scan())
    except DataError as error:
        return list(error.problems)


@pytest.mark.any_install
@pytest.mark.parametrize("form", MADE)
@given(edits=EDITS, end=st.one_of(st.just(1.0), st.floats(0, 1)))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damage_of_any_kind_is_told(
    tmp_path: Path, form: str, edits: list[tuple[float, int, bytes]], end: float
) -> None:
    path = tmp_path / ("a.md" if form == "text" else "a.jsonl")
    content = MADE[form](tmp_path / "made")
    for place, length, put in edits:
        start = int(place * len(content))
        content = content[:start] + put + content[start + length :]
    path.write_bytes(content[: int(end * len(content))])
    items = read(path)
    for item in items:
        if isinstance(item, Problem):
            assert (item.where or "").startswith(str(path))
            assert item.code.startswith("MENS-D")


@given(content=st.binary(max_size=60), name=st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.md"]))
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_bytes_of_any_kind_are_told(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert all(item.where for item in read(path) if isinstance(item, Problem))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@pytest.mark.any_install
@given(rows=st.lists(st.dictionaries(st.text(max_size=4), JSON, max_size=3), max_size=6))
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.parametrize("indent", [None, 0, 3])
def test_any_array_is_read_as_python_reads_it(
    tmp_path: Path, rows: list[dict[str, object]], indent: int | None
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(json.dumps(rows, indent=indent).encode())
    found = read(path)
    assert [item.value for item in found if isinstance(item, FileRow)] == rows
    assert not [item for item in found if isinstance(item, Problem)]
