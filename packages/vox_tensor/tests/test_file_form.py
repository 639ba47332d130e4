from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vox_tensor.data_messages import conversion
from vox_tensor.errors import Problem
from vox_tensor.file_form import FileForm, form_of_content, form_of_name
from vox_tensor.jsonl import JsonLine, scan_jsonl

ROWS = [{"prompt": "a, b", "response": "c"}, {"prompt": "d", "response": "é"}]
TEXT = {
    FileForm.JSON_ARRAY: json.dumps(ROWS),
    FileForm.JSON_DOCUMENT: "\n".join(json.dumps(row, indent=2) for row in ROWS),
    FileForm.CSV: 'prompt,response\n"a, b",c\nd,é\n',
    FileForm.TSV: "prompt\tresponse\na, b\tc\nd\té\n",
}


@pytest.mark.parametrize(
    ("content", "form"),
    [
        *((text.encode(), form) for form, text in TEXT.items()),
        (json.dumps(ROWS, indent=2).encode(), FileForm.JSON_ARRAY),
        (b"\xef\xbb\xbf\r\n" + json.dumps(ROWS, indent=2).encode(), FileForm.JSON_ARRAY),
        (b"[\n" + b",\n".join(json.dumps(row).encode() for row in ROWS) + b"\n]\n",
         FileForm.JSON_ARRAY),
        (b'[{"prompt": "a"},\n{"prompt": "b"}]', FileForm.JSON_ARRAY),
        (b'[{"prompt": "' + b"a" * 100, FileForm.JSON_ARRAY),
        (b"question;answer\r\na;b\r\n", FileForm.CSV),
        (b"PAR1\x15\x04", FileForm.PARQUET),
        (b"ARROW1\0\0", FileForm.FEATHER),
        (gzip.compress(b"{}", mtime=0), FileForm.GZIP),
        (b"PK\x03\x04rest", FileForm.ZIP),
        (b"\x28\xb5\x2f\xfd", FileForm.ZSTD),
        ('{"prompt": "a"}\n'.encode("utf-16"), FileForm.UTF16),
        ('{"prompt": "a"}\n'.encode("utf-16-be"), None),
    ],
)  # fmt: skip
def test_a_file_in_another_form_is_one_problem(
    tmp_path: Path, content: bytes, form: FileForm | None
) -> None:
    assert form_of_content(content) == form
    path = tmp_path / "train.jsonl"
    path.write_bytes(content)
    found = list(scan_jsonl(path))
    if form is not None:
        (problem,) = found
        assert isinstance(problem, Problem)
        assert (problem.code, problem.where) == ("MENS-D130", str(path))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n\n",
        b'{"a": 1}\n',
        b'{"a": 1}\n[1, 2]\n',
        b'[1, 2]\n{"a": 1}\n',
        b"[1, 2]\n",
        b"nonsense\n",
        b'nonsense, and more\n{"a": 1}\n',
        b"\x00\x01,\x02\n\x03,\x04\n",
        b'{"a": 1,\n',
    ],
)
def test_a_bad_line_of_json_lines_is_not_taken_for_another_form(content: bytes) -> None:
    assert form_of_content(content) is None


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("train.csv", FileForm.CSV),
        ("TRAIN.CSV", FileForm.CSV),
        ("train.jsonl.gz", FileForm.GZIP),
        ("rows.ndjson", FileForm.JSON_LINES),
        ("train-00000-of-00001.parquet", FileForm.PARQUET),
        ("README.md", None),
        ("json", None),
    ],
)
def test_the_format_suggested_by_a_file_name(name: str, form: FileForm | None) -> None:
    assert form_of_name(name) == form


@pytest.mark.parametrize("form", [*TEXT, FileForm.GZIP, FileForm.UTF16, FileForm.JSON_LINES])
def test_the_command_that_is_offered_makes_the_rows(tmp_path: Path, form: FileForm) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    source = tmp_path / "with space.x"
    content = {
        FileForm.GZIP: gzip.compress(lines),
        FileForm.UTF16: lines.decode().encode("utf-16"),
        FileForm.JSON_LINES: lines,
    }
    source.write_bytes(content[form] if form in content else TEXT[form].encode())
    command = conversion(form, str(source), str(tmp_path / "train.jsonl"))
    program = command.split()[0]
    if program == "python":
        command = command.replace("python", f"'{sys.executable}'", 1)
    elif shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    shell = shutil.which("sh")
    if shell is None:
        pytest.skip("needs a shell")
    subprocess.run([shell, "-c", command], check=True)
    found = list(scan_jsonl(tmp_path / "train.jsonl"))
    assert [row.value for row in found if isinstance(row, JsonLine)] == ROWS


@pytest.mark.parametrize("form", list(FileForm))
def test_every_form_has_a_command(form: FileForm) -> None:
    command = conversion(form, "a file", "b file")
    assert "'a file'" in command
    assert "'b file'" in command
