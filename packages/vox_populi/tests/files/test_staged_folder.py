"""A folder appears complete or not at all, and never over anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vox_populi.errors import EnvironmentFailure, PreflightError
from vox_populi.files.staged_folder import StagedFolder, new_folder
from vox_populi.files.whole_file import write_whole

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs POSIX links and signals")


def test_a_new_folder_appears_when_the_block_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "a" / "out"
    with new_folder(target) as folder:
        write_whole(folder.path / "x", b"1")
        assert not target.exists()
    assert (target / "x").read_bytes() == b"1"
    assert [entry.name for entry in target.parent.iterdir()] == ["out"]


def test_an_empty_folder_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as folder:
        write_whole(folder.path / "x", b"1")
    assert (tmp_path / "out" / "x").exists()


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: StagedFolder) -> None:
        write_whole(folder.path / "x", b"1")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out") as folder:
        fail(folder)
    assert list(tmp_path.iterdir()) == []


def test_a_new_folder_does_not_replace_an_existing_one(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_bytes(b"1")
    with pytest.raises(PreflightError), new_folder(tmp_path / "out"):
        pytest.fail("must not start")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_folder_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def somebody_else() -> None:
        target.mkdir()
        (target / "mine").write_bytes(b"1")

    with pytest.raises(EnvironmentFailure), new_folder(target):
        somebody_else()
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert [entry.name for entry in target.iterdir()] == ["mine"]


def test_links_and_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(EnvironmentFailure), new_folder(tmp_path / name):
            pytest.fail("must not start")


LEAVE_HALF = """
import os, signal, sys
from pathlib import Path
from vox_populi.files.staged_folder import new_folder
with new_folder(Path(sys.argv[1])) as staged:
    staged.write("half", b"x")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@posix_only
def test_leftovers_of_a_killed_command_are_removed_by_the_next(tmp_path: Path) -> None:
    target = tmp_path / "out"
    subprocess.run([sys.executable, "-c", LEAVE_HALF, str(target)], check=False)
    (left,) = tmp_path.iterdir()
    assert (left / "half").exists()
    with new_folder(target) as staged:
        staged.write("whole", b"y")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]
    assert [entry.name for entry in target.iterdir()] == ["whole"]


@posix_only
def test_links_and_foreign_folders_are_never_emptied(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis").write_bytes(b"keep")
    staging = tmp_path / ".out.merging"
    staging.symlink_to(precious)
    with pytest.raises(EnvironmentFailure, match="MENS-E003"), new_folder(tmp_path / "out"):
        pytest.fail("must not start")
    staging.unlink()
    precious.rename(staging)
    with pytest.raises(EnvironmentFailure, match="MENS-E042"), new_folder(tmp_path / "out"):
        pytest.fail("must not start")
    assert [entry.name for entry in staging.iterdir()] == ["thesis"]


@posix_only
def test_leftovers_in_an_empty_target_go_and_links_lose_only_themselves(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis").write_bytes(b"keep")
    target = tmp_path / "out"
    target.mkdir()
    (target / ".a.7.tmp").symlink_to(precious)
    with new_folder(target) as staged:
        staged.write("x", b"1")
    assert [entry.name for entry in target.iterdir()] == ["x"]
    assert (precious / "thesis").read_bytes() == b"keep"
