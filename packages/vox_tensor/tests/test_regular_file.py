from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from vox_tensor.errors import DataError
from vox_tensor.regular_file import (
    FileTooLargeError,
    NotRegularFileError,
    open_regular,
    open_regular_file,
    read_whole,
)

posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX file types")


def code_of(path: Path) -> str:
    with pytest.raises(DataError) as caught, open_regular_file(path):
        pytest.fail("the block must not run")
    (problem,) = caught.value.problems
    assert problem.where == str(path)
    return problem.code


def test_a_file_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x\r\n")
    with open_regular_file(path) as handle:
        assert handle.read() == b"x\r\n"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert code_of(tmp_path / "none") == "MENS-D001"


def test_a_file_in_place_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    assert code_of(tmp_path / "a" / "b") == "MENS-D001"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert code_of(tmp_path) == "MENS-D002"


@posix_only
def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a")
    with open_regular_file(tmp_path / "link") as handle:
        assert handle.read() == b"x"


@posix_only
def test_a_link_to_a_device_that_never_ends_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/dev/zero")
    assert code_of(tmp_path / "link") == "MENS-D002"


@posix_only
def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert code_of(tmp_path / "a") == "MENS-D001"


@posix_only
def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert code_of(tmp_path / "pipe") == "MENS-D002"


@posix_only
def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # socket paths may not be long
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s")
        assert code_of(Path("s")) == "MENS-D002"


def test_a_failing_read_is_the_file_s_problem(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(DataError) as caught, open_regular_file(tmp_path / "a"):
        raise OSError(5, "Input/output error")
    assert caught.value.problems[0].code == "MENS-D001"
    assert "Input/output error" in caught.value.problems[0].what


@posix_only
def test_links_are_followed_only_where_they_may_be(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a")
    with open_regular(tmp_path / "link") as handle:
        assert handle.read() == b"x"
    with pytest.raises(NotRegularFileError):
        open_regular(tmp_path / "link", follow_links=False)


@posix_only
def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe")
    looked_at = (tmp_path / "a").stat()
    monkeypatch.setattr(Path, "stat", lambda *_, **__: looked_at)
    with pytest.raises(NotRegularFileError):
        open_regular(tmp_path / "pipe")


def test_a_file_is_read_to_its_end_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    with open_regular(path) as file:
        assert read_whole(file, 5) == b"12345"
    with open_regular(path) as file, pytest.raises(FileTooLargeError, match="4 bytes"):
        read_whole(file, 4)
