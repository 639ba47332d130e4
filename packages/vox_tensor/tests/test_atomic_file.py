from __future__ import annotations

import os
from pathlib import Path

import pytest

from vox_tensor.atomic_file import replaced_file

needs_umask = pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")


def test_content_appears_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with replaced_file(path) as handle:
        handle.write(b"new")
        handle.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_a_failed_block_leaves_everything_as_it_was(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    def write_half_a_file() -> None:
        with replaced_file(path) as handle:
            handle.write(b"half")
            raise failure

    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    with pytest.raises(failure):
        write_half_a_file()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replaced_file(tmp_path / "none" / "a.txt"):
        pytest.fail("the block must not run")


@needs_umask
def test_mode_follows_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        with replaced_file(tmp_path / "a.txt") as handle:
            handle.write(b"x")
    finally:
        os.umask(previous)
    assert (tmp_path / "a.txt").stat().st_mode & 0o777 == 0o640
