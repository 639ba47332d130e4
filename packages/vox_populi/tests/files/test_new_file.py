"""Files that are made new."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from vox_populi.errors import EnvironmentFailure
from vox_populi.files.new_file import sync_file, write_new_file
from vox_populi.files.whole_file import writing


def test_a_new_file_has_every_chunk_and_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "new"
    written = write_new_file(path, [b"one ", memoryview(b"two"), b""])
    assert path.read_bytes() == b"one two"
    assert (written.size, written.sha256) == (7, hashlib.sha256(b"one two").hexdigest())
    assert write_new_file(tmp_path / "other", [b"one"]).sha256 != written.sha256


def test_a_chunk_may_be_overwritten_when_the_next_is_taken(tmp_path: Path) -> None:
    buffer = bytearray(1)

    def chunks() -> Iterator[memoryview]:
        for value in b"abc":
            buffer[0] = value
            yield memoryview(buffer)

    path = tmp_path / "new"
    assert write_new_file(path, chunks()).size == 3
    assert path.read_bytes() == b"abc"


def test_what_the_system_takes_in_pieces_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:2]))
    path = tmp_path / "new"
    write_new_file(path, [b"abcdefg"])
    assert path.read_bytes() == b"abcdefg"


def test_nothing_that_is_there_is_written_to(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"keep")
    (tmp_path / "link").symlink_to(precious)
    for name in ("precious", "link"):
        with pytest.raises(FileExistsError):
            write_new_file(tmp_path / name, [b"lost"])
    assert precious.read_bytes() == b"keep"


def test_content_is_synced_unless_the_caller_does_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    write_new_file(tmp_path / "a", [b"x"], synced=False)
    assert synced == []
    write_new_file(tmp_path / "b", [b"x"])
    sync_file(tmp_path / "a")
    assert len(synced) == 2


def test_what_the_system_refuses_is_a_problem_of_the_named_file(tmp_path: Path) -> None:
    path = tmp_path / "named"
    refused = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(EnvironmentFailure, match=r"named.*No space left"), writing(path):
        raise refused
