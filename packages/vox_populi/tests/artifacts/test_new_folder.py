"""A folder appears complete or not at all, and never over anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from vox_populi.artifacts.new_folder import new_folder
from vox_populi.artifacts.whole_file import write_whole
from vox_populi.errors import EnvironmentFailure, PreflightError


def test_it_appears_when_the_block_ends_well(tmp_path: Path) -> None:
    target = tmp_path / "a" / "out"
    with new_folder(target) as folder:
        write_whole(folder / "x", b"1")
        assert not target.exists()
    assert (target / "x").read_bytes() == b"1"
    assert [entry.name for entry in target.parent.iterdir()] == ["out"]


def test_an_empty_folder_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as folder:
        write_whole(folder / "x", b"1")
    assert (tmp_path / "out" / "x").exists()


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        write_whole(folder / "x", b"1")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out") as folder:
        fail(folder)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_stays(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_bytes(b"1")
    with pytest.raises(PreflightError), new_folder(tmp_path / "out"):
        pytest.fail("must not start")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["mine"]


def test_what_appears_meanwhile_stays_too(tmp_path: Path) -> None:
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
