"""Run folders: refused when occupied or held, files whole or absent, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vox_populi.adapters.v3.names import QLORA_ADAPTER_FILE
from vox_populi.errors import ArtifactError, EnvironmentFailure, PreflightError
from vox_populi.files.folder_lock import LOCK_NAME, FolderLock, lock_holder
from vox_populi.files.whole_file import write_whole
from vox_populi.operator_messages import environment as say
from vox_populi.runs import run_dir
from vox_populi.runs.run_dir import RunDir

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs POSIX links and signals")

HOLD_FOLDER = """
import sys
from pathlib import Path
from vox_populi.runs.run_dir import RunDir
with RunDir.create(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_new_folder_is_made_with_its_parents_and_left_without_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "first"
    with RunDir.create(path) as run:
        assert lock_holder(path) is not None
        run.write_json("a.json", {"b": 1})
    assert names(path) == ["a.json"]
    assert lock_holder(path) is None


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    with RunDir.create(tmp_path) as run:
        assert run.path == tmp_path


def test_an_occupied_folder_is_refused_and_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(PreflightError, match="MENS-E001"):
        RunDir.create(tmp_path)
    assert names(tmp_path) == ["notes.txt"]


def test_force_keeps_the_old_folder_under_another_name(tmp_path: Path) -> None:
    path = tmp_path / "run"
    for round_ in range(3):
        with RunDir.create(path, force=True) as run:
            run.write_atomic("round", str(round_).encode())
    assert names(tmp_path) == ["run", "run.old-1", "run.old-2"]
    kept = [(tmp_path / name / "round").read_text("utf-8") for name in names(tmp_path)]
    assert kept == ["2", "0", "1"]
    assert all(names(tmp_path / name) == ["round"] for name in names(tmp_path))


def test_leftovers_of_a_killed_process_do_not_occupy_a_folder(tmp_path: Path) -> None:
    (tmp_path / ".model_final.bin.77.tmp").write_bytes(b"torn")
    (tmp_path / LOCK_NAME).write_text("process 77 on gone\n", encoding="utf-8")
    with RunDir.create(tmp_path) as run:
        run.begin()
    assert names(tmp_path) == []


def test_a_run_that_does_not_begin_leaves_everything_as_it_was(tmp_path: Path) -> None:
    with RunDir.create(tmp_path / "a" / "b" / "run"):
        pass
    assert names(tmp_path) == []
    old = tmp_path / "old"
    with RunDir.create(old) as run:
        run.write_atomic("adapter", b"keep")
    (old / ".torn.7.tmp").write_bytes(b"torn")
    with RunDir.create(old, force=True):
        assert lock_holder(old) is not None
    assert names(tmp_path) == ["old"]
    assert names(old) == [".torn.7.tmp", "adapter"]


@pytest.mark.parametrize("beneath", [False, True])
def test_a_file_in_the_way_is_refused(tmp_path: Path, beneath: bool) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    with pytest.raises(EnvironmentFailure, match="MENS-E002"):
        RunDir.create(file / "run" if beneath else file)


@posix_only
def test_a_link_is_refused_and_its_target_untouched(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (tmp_path / "run").symlink_to(target)
    with pytest.raises(EnvironmentFailure, match="MENS-E003"):
        RunDir.create(tmp_path / "run")
    assert names(target) == []


@posix_only
def test_a_folder_that_cannot_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("vox_populi.files.folder_lock.os.open", refuse)
    with pytest.raises(EnvironmentFailure, match=r"MENS-E005.*Permission denied"):
        RunDir.create(tmp_path / "run")


def test_a_second_process_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_FOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(EnvironmentFailure, match=rf"MENS-E004.*process {holder.pid} on "):
            RunDir.create(path, force=True)
        assert lock_holder(path) == lock_holder(path) != None  # noqa: E711 - both, then present
        holder.communicate("")
    with RunDir.create(path):
        assert names(path) == [LOCK_NAME]


@posix_only
def test_a_lock_dies_with_its_process(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD_FOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
        holder.wait()
    assert names(tmp_path) == [LOCK_NAME], "the file outlives a killed process, the lock does not"
    assert lock_holder(tmp_path) is None
    with RunDir.create(tmp_path):
        pass


def test_file_names_cannot_leave_the_folder(tmp_path: Path) -> None:
    with RunDir.create(tmp_path) as run, pytest.raises(ValueError, match="bare file name"):
        run.write_atomic("../out", b"x")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    write_whole(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vox_tensor.atomic_file.os.fsync", full)
    with pytest.raises(EnvironmentFailure, match=r"MENS-E005.*No space left on device"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@posix_only
def test_a_link_at_a_file_name_is_replaced_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"keep")
    run_path = tmp_path / "run"
    with RunDir.create(run_path) as run:
        (run_path / "file").symlink_to(outside)
        run.write_atomic("file", b"new")
        assert not (run_path / "file").is_symlink()
    assert outside.read_bytes() == b"keep"


@posix_only
def test_a_run_whose_checkpoints_are_a_link_is_not_reopened(tmp_path: Path) -> None:
    outside, run = tmp_path / "outside", tmp_path / "run"
    (outside / ".work.7.tmp").mkdir(parents=True)
    (outside / ".notes.tmp").write_bytes(b"mine")
    run.mkdir()
    (run / "request.json").write_bytes(b"{}")
    (run / "checkpoints").symlink_to(outside)
    with pytest.raises(EnvironmentFailure, match="MENS-E003"):
        RunDir.reopen(run)
    assert names(outside) == [".notes.tmp", ".work.7.tmp"]
    assert names(run) == ["checkpoints", "request.json"]


@posix_only
@pytest.mark.parametrize("name", ["telemetry.jsonl", "model_final.bin", "training_manifest.json"])
def test_a_pipe_in_the_place_of_a_run_s_file_is_refused_at_once(tmp_path: Path, name: str) -> None:
    (tmp_path / "request.json").write_bytes(b"{}")
    os.mkfifo(tmp_path / name)
    with pytest.raises(ArtifactError, match=f"MENS-A100.*{name}"):
        RunDir.reopen(tmp_path)
    assert names(tmp_path) == sorted([name, "request.json"])


@posix_only
def test_a_lock_that_is_a_pipe_is_neither_waited_for_nor_held(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / LOCK_NAME)
    assert lock_holder(tmp_path) is None
    with pytest.raises(EnvironmentFailure, match=r"MENS-E005.*not a regular file"):
        RunDir.create(tmp_path)


def test_only_names_that_a_run_gives_are_leftovers(tmp_path: Path) -> None:
    (tmp_path / ".notes.tmp").write_bytes(b"mine")
    with pytest.raises(PreflightError, match="MENS-E001"):
        RunDir.create(tmp_path)
    assert names(tmp_path) == [".notes.tmp"]


def test_every_known_file_has_a_kind() -> None:
    files = {
        value
        for name, value in vars(run_dir).items()
        if name.endswith("_FILE") and isinstance(value, str)
    }
    assert files == {*run_dir.KNOWN_FILES.values(), *run_dir.QLORA_FILES.values()}


def test_the_final_adapter_is_found_whichever_kernel_left_it(tmp_path: Path) -> None:
    assert run_dir.final_adapter(tmp_path) is None
    for kernel, name in (("lora", "model_final.bin"), ("qlora", QLORA_ADAPTER_FILE)):
        run = tmp_path / kernel
        run.mkdir()
        (run / "telemetry.jsonl").write_bytes(b"")
        assert run_dir.final_adapter(run) is None
        (run / name).write_bytes(b"")
        assert run_dir.final_adapter(run) == run / name
        assert run_dir.run_files(run) == {
            "adapter": run / name,
            "telemetry": run / "telemetry.jsonl",
        }


def test_folders_that_were_made_are_removed_where_the_lock_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(folder: Path) -> None:
        raise EnvironmentFailure(say.folder_locked("process 1").at(str(folder)))

    monkeypatch.setattr(FolderLock, "acquire", refused)
    with pytest.raises(EnvironmentFailure):
        RunDir.create(tmp_path / "runs" / "first")
    assert names(tmp_path) == []
