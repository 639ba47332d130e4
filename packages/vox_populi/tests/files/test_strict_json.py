from __future__ import annotations

import os
from pathlib import Path

import pytest

from vox_populi.errors import ModelError
from vox_populi.files.model_file import open_model_file
from vox_populi.files.strict_json import parse_json_object, read_json_object

BROKEN = {
    "empty": b"",
    "cut short": b'{"a": 1',
    "tail": b'{"a": 1} x',
    "an array": b"[1]",
    "a number": b"7",
    "not UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "repeated key": b'{"a": 1, "a": 1}',
    "repeated key inside": b'{"b": {"a": 1, "a": 2}}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "too deep": b'{"a": ' + b"[" * 200_000,
    "digits without end": b'{"a": ' + b"9" * 6000 + b"}",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN.keys())
def test_json_that_is_not_a_strict_object_is_refused(data: bytes) -> None:
    with pytest.raises(ModelError) as caught:
        parse_json_object(data, "config.json")
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("MENS-H006", "config.json")


def test_an_object_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b' {"a": [1, 2.5, null, "\xc3\xa9"]}\n')
    assert read_json_object(path) == {"a": [1, 2.5, None, "é"]}


def test_a_file_beyond_the_cap_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'{"a": 1}')
    assert read_json_object(path, max_bytes=8) == {"a": 1}
    with pytest.raises(ModelError, match="MENS-H005"):
        read_json_object(path, max_bytes=7)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/zero"), tmp_path):
        with pytest.raises(ModelError, match=r"MENS-H00[34]"), open_model_file(path):
            pass


def test_missing_files_and_dangling_links_are_named(tmp_path: Path) -> None:
    dangling = tmp_path / "link.json"
    dangling.symlink_to(tmp_path / "nowhere")
    for path in (tmp_path / "absent.json", dangling):
        with pytest.raises(ModelError) as caught:
            read_json_object(path)
        assert caught.value.problems[0].where == str(path)


def test_links_to_regular_files_are_followed(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"{}")
    link = tmp_path / "config.json"
    link.symlink_to(tmp_path / "blob")
    assert read_json_object(link) == {}


def test_a_path_that_no_system_takes_is_refused() -> None:
    with pytest.raises(ModelError, match="MENS-H003"):
        read_json_object(Path("a\0b"))
