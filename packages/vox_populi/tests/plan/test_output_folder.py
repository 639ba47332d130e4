from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vox_populi.artifacts import run_dir
from vox_populi.errors import EnvironmentFailure, PreflightError
from vox_populi.files import folder_lock
from vox_populi.files.folder_lock import FolderLock
from vox_populi.plan import output_folder
from vox_populi.plan.findings import Findings
from vox_populi.plan.output_folder import (
    FolderUse,
    IfOccupied,
    check_cache_folder,
    check_output_folder,
)
from vox_tensor.errors import VoxError


def error_of(
    path: Path,
    adapter_bytes: int = 0,
    if_occupied: IfOccupied = IfOccupied.REFUSE,
    most_checkpoints: int = 0,
) -> VoxError | None:
    found = Findings()
    use = FolderUse(if_occupied=if_occupied, most_checkpoints=most_checkpoints)
    before = sorted(path.parent.rglob("*")) if path.parent.is_dir() else []
    check_output_folder(path, adapter_bytes, found, use)
    assert before == (sorted(path.parent.rglob("*")) if path.parent.is_dir() else [])
    try:
        found.raise_if_any()
    except VoxError as error:
        return error
    return None


def cache_error_of(path: Path) -> VoxError | None:
    found = Findings()
    check_cache_folder(path, found)
    try:
        found.raise_if_any()
    except VoxError as error:
        return error
    return None


def test_a_cache_folder_that_cannot_be_made_is_found_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "in" / "it"):
        error = cache_error_of(path)
        assert isinstance(error, EnvironmentFailure)
        assert error.problems[0].code == "MENS-P023"
        assert error.problems[0].where == str(path)
    assert cache_error_of(tmp_path / "new" / "one") is None
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    error = cache_error_of(tmp_path / "new")
    assert isinstance(error, EnvironmentFailure)
    assert "read-only" in str(error)
    # One that is there may hold what is needed, and is then only read.
    assert cache_error_of(tmp_path) is None


def test_a_folder_that_is_new_or_empty_is_fine(tmp_path: Path) -> None:
    assert error_of(tmp_path / "new") is None
    assert error_of(tmp_path / "a" / "b" / "c") is None
    (tmp_path / "empty").mkdir()
    assert error_of(tmp_path / "empty") is None


@pytest.mark.parametrize("name", ["model_final.bin", ".hidden", "sub"])
def test_any_file_makes_it_occupied(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    error = error_of(tmp_path)
    assert isinstance(error, PreflightError)
    assert [p.code for p in error.problems] == ["MENS-E001"]
    assert error_of(tmp_path, if_occupied=IfOccupied.MOVE_ASIDE) is None


def test_what_a_killed_run_left_does_not_occupy(tmp_path: Path) -> None:
    (tmp_path / ".run.lock").touch()
    (tmp_path / ".model_final.bin.7.tmp").touch()
    assert error_of(tmp_path) is None


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below" / "it"):
        error = error_of(path)
        assert isinstance(error, EnvironmentFailure)
        assert [(p.code, p.where) for p in error.problems] == [("MENS-E002", str(path))]


def test_runs_are_not_written_through_links(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name in ("link", "dangling"):
        error = error_of(tmp_path / name)
        assert isinstance(error, EnvironmentFailure)
        assert [p.code for p in error.problems] == ["MENS-E003"]
    assert error_of(tmp_path / "link" / "below") is None
    assert isinstance(error_of(tmp_path / "dangling" / "below"), EnvironmentFailure)


def test_a_read_only_place_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    error = error_of(tmp_path / "new")
    assert isinstance(error, EnvironmentFailure)
    assert [p.code for p in error.problems] == ["MENS-P009"]
    (tmp_path / "writable").mkdir()
    assert error_of(tmp_path / "writable") is None


def test_a_name_that_the_system_does_not_take_is_refused(tmp_path: Path) -> None:
    error = error_of(tmp_path / ("x" * 5000))
    assert isinstance(error, EnvironmentFailure)
    assert [p.code for p in error.problems] == ["MENS-P009"]


def test_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    assert error_of(tmp_path / "new", adapter_bytes=2**28) is None
    assert error_of(tmp_path / "new", 2**25, most_checkpoints=3) is None
    error = error_of(tmp_path / "new", 2**28, most_checkpoints=3)
    assert isinstance(error, EnvironmentFailure)
    error = error_of(tmp_path / "new", adapter_bytes=2**29)
    assert isinstance(error, EnvironmentFailure)
    assert [p.code for p in error.problems] == ["MENS-P010"]


@pytest.mark.skipif(sys.platform == "win32", reason="the lock cannot be looked at there")
def test_a_folder_that_another_run_holds_names_the_holder(tmp_path: Path) -> None:
    lock = FolderLock.acquire(tmp_path)
    (tmp_path / "telemetry.jsonl").touch()
    try:
        error = error_of(tmp_path)
    finally:
        lock.release()
    assert isinstance(error, EnvironmentFailure)
    assert [p.code for p in error.problems] == ["MENS-E004"]
    assert f"process {os.getpid()}" in error.problems[0].what
    assert isinstance(error_of(tmp_path), PreflightError)


def test_the_lock_is_the_one_that_runs_take() -> None:
    assert output_folder.LOCK_NAME == folder_lock.LOCK_NAME


def test_only_the_folder_of_a_run_can_be_gone_on_with(tmp_path: Path) -> None:
    assert error_of(tmp_path / "new", if_occupied=IfOccupied.CONTINUE) is None
    (tmp_path / "telemetry.jsonl").touch()
    error = error_of(tmp_path, if_occupied=IfOccupied.CONTINUE)
    assert isinstance(error, PreflightError)
    assert [p.code for p in error.problems] == ["MENS-E008"]
    (tmp_path / run_dir.REQUEST_FILE).touch()
    assert error_of(tmp_path, if_occupied=IfOccupied.CONTINUE) is None
    assert isinstance(error_of(tmp_path), PreflightError), "only when asked to go on"
