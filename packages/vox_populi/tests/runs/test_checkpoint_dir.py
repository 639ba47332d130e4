"""The commit protocol: at every fault an old checkpoint or the new one, and never a part of one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from vox_populi.errors import ArtifactError, EnvironmentFailure
from vox_populi.runs.checkpoint_dir import (
    Checkpoint,
    CheckpointDamagedError,
    best_checkpoint,
    check_checkpoint,
    checkpoint_at,
    list_checkpoints,
    named_checkpoint,
    remove_leftovers,
    write_checkpoint,
)

KEEP = 2


def content(step: int) -> dict[str, list[bytes]]:
    draw = random.Random(step)
    return {"a.bin": [draw.randbytes(3000), draw.randbytes(7)], "state.json": [b"{}"]}


def write(run: Path, step: int, keep: int = KEEP) -> Checkpoint:
    return write_checkpoint(run, step, content(step), keep=keep)


def steps_of(run: Path) -> list[int]:
    """Steps of the checkpoints, each of which must be whole."""
    found = list_checkpoints(run)
    for checkpoint in found:
        check_checkpoint(checkpoint)
        for name, chunks in content(checkpoint.step).items():
            assert checkpoint.file(name).read_bytes() == b"".join(chunks)
    return [checkpoint.step for checkpoint in found]


def test_a_checkpoint_is_complete_and_the_pointer_names_it(tmp_path: Path) -> None:
    checkpoint = write(tmp_path, 7)
    assert steps_of(tmp_path) == [7]
    assert (tmp_path / "checkpoints" / "latest").read_text("utf-8") == "step-7\n"
    manifest = json.loads(checkpoint.file("manifest.json").read_text("utf-8"))
    assert manifest["files"]["a.bin"]["bytes"] == 3007
    assert {entry.name for entry in (tmp_path / "checkpoints").iterdir()} == {"step-7", "latest"}


def test_files_behind_a_link_are_not_removed_as_leftovers(tmp_path: Path) -> None:
    elsewhere, run = tmp_path / "elsewhere", tmp_path / "run"
    left = elsewhere / ".step-1.7.tmp" / "thesis.txt"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"precious")
    run.mkdir()
    (run / "checkpoints").symlink_to(elsewhere)
    remove_leftovers(run)
    assert left.read_bytes() == b"precious"


def test_a_link_among_the_leftovers_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "a").write_bytes(b"keep")
    write(tmp_path, 1)
    left = tmp_path / "checkpoints" / ".step-2.7.tmp"
    left.symlink_to(precious)
    remove_leftovers(tmp_path)
    assert not left.is_symlink()
    assert (precious / "a").read_bytes() == b"keep"


def test_only_names_that_a_run_gives_are_leftovers(tmp_path: Path) -> None:
    write(tmp_path, 1)
    notes = tmp_path / "checkpoints" / ".notes.tmp"
    notes.write_bytes(b"mine")
    remove_leftovers(tmp_path)
    assert notes.read_bytes() == b"mine"


def test_checkpoints_are_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EnvironmentFailure, match="MENS-E003"):
        write(tmp_path, 1)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_older_checkpoints_are_removed(tmp_path: Path) -> None:
    for step in (1, 2, 9, 10):
        write(tmp_path, step)
    assert steps_of(tmp_path) == [9, 10]
    write(tmp_path, 11, keep=1)
    assert steps_of(tmp_path) == [11]


def test_later_checkpoints_that_a_run_fell_back_from_do_not_push_out_its_own(
    tmp_path: Path,
) -> None:
    for step in (10, 20, 30):
        write(tmp_path, step, keep=3)
    write(tmp_path, 12, keep=1)
    assert steps_of(tmp_path) == [12, 20, 30]


def test_a_damaged_one_of_the_same_step_gives_way(tmp_path: Path) -> None:
    write(tmp_path, 5).file("a.bin").write_bytes(b"?")
    write(tmp_path, 5)
    assert steps_of(tmp_path) == [5]


@pytest.mark.parametrize("name", ["step-", "step-x", "step-007", "step--1", "step-²", "latest"])
def test_folders_with_other_names_are_not_checkpoints(name: str) -> None:
    assert checkpoint_at(Path(name)) is None
    assert checkpoint_at(Path("step-0")) == Checkpoint(Path("step-0"), 0)


@pytest.mark.any_install
@pytest.mark.parametrize("fault", ["once", "from then on", "kill"])
def test_a_fault_at_every_single_write_leaves_whole_checkpoints_only(
    tmp_path: Path, write_faults: Any, fault: str
) -> None:
    kind = type(write_faults.fault)(fault)
    n_faults = 0
    for at in range(1, 200):
        run = tmp_path / str(at)
        run.mkdir()
        for step in (1, 2):
            write(run, step)
        write_faults.arm(kind, at)
        try:
            write(run, 3)
            failure: BaseException | None = None
        except BaseException as error:  # noqa: BLE001 - a kill is one
            failure = error
        fired = write_faults.fired
        write_faults.disarm()
        n_faults += fired
        assert steps_of(run) in ([1, 2], [1, 2, 3], [2, 3]), f"at call {at}"
        assert failure is None or isinstance(failure, EnvironmentFailure) or fault == "kill"
        remove_leftovers(run)
        names = {entry.name for entry in (run / "checkpoints").iterdir()}
        assert not any(name.startswith(".") for name in names)
        write(run, 3)
        assert steps_of(run)[-2:] == [2, 3]
        if not fired:
            break
    assert n_faults > len(content(3)) * 3, "each file is opened, written and synced"


def test_the_first_checkpoint_of_a_run_is_whole_or_absent(
    tmp_path: Path, write_faults: Any
) -> None:
    kind = type(write_faults.fault)("kill")
    for at in range(1, 200):
        run = tmp_path / str(at)
        run.mkdir()
        write_faults.arm(kind, at)
        with suppress(BaseException):  # a kill; what it left is the test
            write(run, 3)
        fired = write_faults.fired
        write_faults.disarm()
        assert steps_of(run) in ([], [3])
        if not fired:
            return
    pytest.fail("the checkpoint was never written without a fault")


def flip(data: bytes, draw: random.Random) -> bytes:
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def blank(data: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(data))
    size = min(512, len(data) - start)
    return data[:start] + bytes(size) + data[start + size :]


@pytest.mark.parametrize("damage", [flip, cut, blank])
def test_damage_at_a_hundred_random_places_is_always_seen(
    tmp_path: Path, damage: Callable[[bytes, random.Random], bytes]
) -> None:
    checkpoint, draw = write(tmp_path, 4), random.Random(0)
    check_checkpoint(checkpoint)
    for _ in range(100):
        file = checkpoint.file(draw.choice(["a.bin", "state.json"]))
        sound = file.read_bytes()
        damaged = damage(sound, draw)
        if damaged == sound:
            continue
        file.write_bytes(damaged)
        with pytest.raises(CheckpointDamagedError, match="MENS-A080"):
            check_checkpoint(checkpoint)
        file.write_bytes(sound)
    check_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("manifest", "error"),
    [
        ({}, CheckpointDamagedError),
        ({"schema_version": 1, "step": 5, "files": {}}, CheckpointDamagedError),
        ({"schema_version": 99, "step": 4, "files": {}}, ArtifactError),
        (
            {"schema_version": 1, "step": 4, "files": {"../a": {"bytes": 0, "sha256": ""}}},
            CheckpointDamagedError,
        ),
        (
            {"schema_version": 1, "step": 4, "files": {"a.bin": {"bytes": 1}}},
            CheckpointDamagedError,
        ),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    tmp_path: Path, manifest: dict[str, object], error: type[ArtifactError]
) -> None:
    checkpoint = write(tmp_path, 4)
    checkpoint.file("manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(error):
        check_checkpoint(checkpoint)


def test_a_checkpoint_with_a_missing_file_is_damaged(tmp_path: Path) -> None:
    checkpoint = write(tmp_path, 4)
    checkpoint.file("a.bin").unlink()
    with pytest.raises(CheckpointDamagedError, match=r"a\.bin"):
        check_checkpoint(checkpoint)
    checkpoint.file("manifest.json").unlink()
    with pytest.raises(CheckpointDamagedError, match=r"manifest\.json"):
        check_checkpoint(checkpoint)


def test_the_best_checkpoint_is_kept_and_named(tmp_path: Path) -> None:
    for step, best in ((10, 10), (20, 20), (30, 20), (40, 20), (50, 20)):
        write_checkpoint(tmp_path, step, content(step), keep=2, best=best)
    assert steps_of(tmp_path) == [20, 40, 50]
    file = tmp_path / "checkpoints" / "best"
    assert named_checkpoint(file) == tmp_path / "checkpoints" / "step-20"
    assert named_checkpoint(file.with_name("latest")).name == "step-50"
    found = best_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 20
    write_checkpoint(tmp_path, 60, content(60), keep=2, best=60)
    assert steps_of(tmp_path) == [50, 60], "the one that was the best is an old one now"


def test_a_best_step_without_a_checkpoint_is_not_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, 10, content(10), keep=2, best=10)
    write_checkpoint(tmp_path, 20, content(20), keep=2, best=5)
    assert best_checkpoint(tmp_path) is None
    assert not (tmp_path / "checkpoints" / "best").exists()


@pytest.mark.parametrize("text", ["", "../step-1", "step-1/../../x", "step-x", "\0", "x" * 999])
def test_a_name_that_no_run_wrote_leads_nowhere(tmp_path: Path, text: str) -> None:
    write(tmp_path, 1)
    file = tmp_path / "checkpoints" / "best"
    file.write_text(text, encoding="utf-8")
    assert named_checkpoint(file) == file
    assert best_checkpoint(tmp_path) is None
    elsewhere = tmp_path / "best"
    elsewhere.write_text("step-1\n", encoding="utf-8")
    assert named_checkpoint(elsewhere) == elsewhere, "only among checkpoints"
