from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vox_populi.contract.choices import Backend, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import QloraSpec
from vox_populi.errors import EnvironmentFailure, PreflightError
from vox_populi.files.folder_lock import FolderLock
from vox_populi.files.known_names import REQUEST_FILE
from vox_populi.files.output_guard import IfOccupied
from vox_populi.plan.findings import Findings
from vox_populi.plan.memory_estimate import AdapterSize
from vox_populi.plan.output_folder import (
    FolderUse,
    check_cache_folder,
    check_output_folder,
)
from vox_tensor.errors import VoxError

NO_ROWS = Path(os.sep) / "no" / "rows"


@pytest.fixture
def tmp_path(tmp_path: Path) -> Path:
    """A folder whose parent holds nothing else: all that lies there is compared each time."""
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


def error_of(
    path: Path,
    adapter_bytes: int = 0,
    moments: int = 2,
    if_occupied: IfOccupied = IfOccupied.REFUSE,
    most_checkpoints: int = 0,
    **reads: Any,
) -> VoxError | None:
    found = Findings()
    named = {name: reads.pop(name) for name in ("reads", "resumed") if name in reads}
    use = FolderUse(if_occupied=if_occupied, most_checkpoints=most_checkpoints, **named)
    contract = FinetuneContract.of(**{"data_dir": NO_ROWS, **reads}, output_dir=path)
    before = sorted(path.parent.rglob("*")) if path.parent.is_dir() else []
    size = AdapterSize(adapter_bytes, moments * adapter_bytes)
    check_output_folder(contract, size, found, use)
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
def test_any_file_makes_an_output_folder_occupied(tmp_path: Path, name: str) -> None:
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
    assert error_of(tmp_path / "new", 2**26, most_checkpoints=4) is not None
    assert error_of(tmp_path / "new", 2**26, moments=1, most_checkpoints=4) is None
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


def test_only_the_folder_of_a_run_can_be_gone_on_with(tmp_path: Path) -> None:
    assert error_of(tmp_path / "new", if_occupied=IfOccupied.CONTINUE) is None
    (tmp_path / "telemetry.jsonl").touch()
    error = error_of(tmp_path, if_occupied=IfOccupied.CONTINUE)
    assert isinstance(error, PreflightError)
    assert [p.code for p in error.problems] == ["MENS-E008"]
    (tmp_path / REQUEST_FILE).touch()
    assert error_of(tmp_path, if_occupied=IfOccupied.CONTINUE) is None
    assert isinstance(error_of(tmp_path), PreflightError), "only when asked to go on"


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """One of each that a run reads, in folders of their own below one folder."""
    folder = tmp_path / "project"
    for name in ("data", "model", "cache", "old"):
        (folder / name).mkdir(parents=True)
    (folder / "data" / "train.jsonl").touch()
    (folder / "model" / "config.json").touch()
    (folder / "old" / "model_final.bin").touch()
    (folder / "settings").mkdir()
    (folder / "settings" / "run.yaml").touch()
    return {
        "data_dir": folder / "data",
        "model_dir": folder / "model",
        "init_from": folder / "old" / "model_final.bin",
        "config": folder / "settings" / "run.yaml",
    }


def code_with(path: Path, inputs: dict[str, Path], if_occupied: IfOccupied) -> str | None:
    named: dict[str, Any] = {name: at for name, at in inputs.items() if name != "config"}
    error = error_of(path, if_occupied=if_occupied, reads=(inputs["config"],), **named)
    return None if error is None else error.problems[0].code


@pytest.mark.parametrize("if_occupied", IfOccupied)
@pytest.mark.parametrize(
    "output", ["", "..", "data", "model", "model/run", "old", "settings", "data/../model"]
)
def test_an_output_that_overlaps_an_input_is_refused_whatever_is_asked(
    inputs: dict[str, Path], output: str, if_occupied: IfOccupied
) -> None:
    path = inputs["data_dir"].parent / output
    assert code_with(path, inputs, if_occupied) == "MENS-A046"


@pytest.mark.parametrize("output", ["run", "data/run", "old/second"])
def test_beside_the_rows_or_an_adapter_there_is_room(inputs: dict[str, Path], output: str) -> None:
    path = inputs["data_dir"].parent / output
    assert code_with(path, inputs, IfOccupied.MOVE_ASIDE) is None


def test_what_a_link_in_an_input_leads_to_is_an_input(
    inputs: dict[str, Path], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "weights").touch()
    (inputs["model_dir"] / "model.safetensors").symlink_to(store / "weights")
    assert code_with(store, inputs, IfOccupied.MOVE_ASIDE) == "MENS-A046"
    (tmp_path / "same").symlink_to(inputs["data_dir"].parent)
    assert code_with(tmp_path / "same" / "data", inputs, IfOccupied.MOVE_ASIDE) == "MENS-A046"


@pytest.mark.parametrize("output", [".", "..", "../..", "../../../project"])
def test_the_working_folder_is_never_moved(
    inputs: dict[str, Path], output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = inputs["data_dir"].parent / "notes" / "today"
    here.mkdir(parents=True)
    (here / "text").touch()
    monkeypatch.chdir(here)
    error = error_of(Path(output), if_occupied=IfOccupied.MOVE_ASIDE)
    assert isinstance(error, PreflightError)
    assert error.problems[0].code == "MENS-E041"
    monkeypatch.chdir(inputs["data_dir"].parent)
    assert error_of(Path("notes"), if_occupied=IfOccupied.MOVE_ASIDE) is None
    (here / "text").unlink()
    monkeypatch.chdir(here)
    assert error_of(Path(), if_occupied=IfOccupied.MOVE_ASIDE) is None, "an empty one stays"


def test_an_output_folder_inside_the_resumed_run_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints" / "step-1").mkdir(parents=True)
    (run / REQUEST_FILE).touch()
    error = error_of(run / "next", if_occupied=IfOccupied.CONTINUE, resumed=run)
    assert isinstance(error, PreflightError)
    assert error.problems[0].code == "MENS-A046"
    for source in (run, run / "checkpoints" / "step-1"):
        assert error_of(run, if_occupied=IfOccupied.CONTINUE, resumed=source) is None


def test_a_cache_of_quantised_bases_is_neither_in_nor_around_a_run(tmp_path: Path) -> None:
    for output, cache in (("cache/run", "cache"), ("run", "run/cache"), ("run", "run")):
        qlora = QloraSpec(cache_dir=tmp_path / cache)
        error = error_of(
            tmp_path / output,
            if_occupied=IfOccupied.MOVE_ASIDE,
            backend=Backend.QLORA,
            tokenizer=TokenizerKind.HF,
            model_dir=tmp_path / "model",
            qlora=qlora,
        )
        assert isinstance(error, PreflightError)
        assert error.problems[0].code == "MENS-A046"
