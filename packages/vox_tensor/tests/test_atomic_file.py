from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vox_tensor.atomic_file import is_temporary, remove_leftovers, replaced_file, staged_file

posix_only = pytest.mark.skipif(os.name == "nt", reason="POSIX file types and locks")
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


WRITE_AND_WAIT = """
import sys
from pathlib import Path
from vox_tensor.atomic_file import replaced_file
with replaced_file(Path(sys.argv[1])) as handle:
    handle.write(b"half")
    handle.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""


def writer_of(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITE_AND_WAIT, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_next_writer_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with writer_of(path) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "writing\n"
        killed.kill()
    (left,) = tmp_path.iterdir()
    assert is_temporary(left.name)
    others = (".rows.jsonl.tmp", ".rows.jsonl.x.tmp", ".rows_jsonl.7.tmp", ".other.jsonl.7.tmp")
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    with replaced_file(path) as handle:
        handle.write(b"new")
    assert {entry.name for entry in tmp_path.iterdir()} == {path.name, *others}


@posix_only
def test_a_file_that_another_process_is_writing_is_not_a_leftover(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with writer_of(path) as busy:
        assert busy.stdout is not None
        assert busy.stdout.readline() == "writing\n"
        with replaced_file(path) as handle:
            handle.write(b"ours")
        assert len(list(tmp_path.iterdir())) == 2
        busy.communicate("")
        assert busy.returncode == 0
    assert [(e.name, e.read_bytes()) for e in tmp_path.iterdir()] == [(path.name, b"half")]


@posix_only
def test_special_files_and_links_are_not_leftovers(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"keep")
    (tmp_path / ".a.1.tmp").symlink_to(precious)
    (tmp_path / ".a.2.tmp").mkdir()
    os.mkfifo(tmp_path / ".a.3.tmp")
    before = sorted(tmp_path.iterdir())
    remove_leftovers(tmp_path / "a")
    assert sorted(tmp_path.iterdir()) == before
    assert precious.read_bytes() == b"keep"


@posix_only
def test_a_link_under_the_temporary_name_is_not_written_through(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"keep")
    (tmp_path / f".a.{os.getpid()}.tmp").symlink_to(precious)
    with pytest.raises(FileExistsError), replaced_file(tmp_path / "a"):
        pytest.fail("the block must not run")
    assert precious.read_bytes() == b"keep"


@posix_only
def test_a_link_at_the_name_is_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"keep")
    (tmp_path / "a").symlink_to(precious)
    with replaced_file(tmp_path / "a") as handle:
        handle.write(b"new")
    assert not (tmp_path / "a").is_symlink()
    assert precious.read_bytes() == b"keep"


def test_a_full_disk_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "rows.jsonl"
    monkeypatch.setattr("vox_tensor.atomic_file.os.fsync", full)
    with pytest.raises(OSError, match="No space left") as caught, replaced_file(path) as handle:
        handle.write(b"x")
    assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_opens_its_file_by_name_is_staged_too(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    with staged_file(path) as temporary:
        temporary.write_bytes(b"content")
        assert not path.exists()
    assert [(e.name, e.read_bytes()) for e in tmp_path.iterdir()] == [(path.name, b"content")]
