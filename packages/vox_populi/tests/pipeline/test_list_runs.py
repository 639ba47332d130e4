"""Runs are listed and sorted; a damaged one is part of the list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from packages.vox_populi.tests.run_folders import steps, write_run
from vox_populi.errors import ArtifactError
from vox_populi.pipeline.list_runs import RunOrder, list_runs


def names(folder: Path, order: RunOrder) -> list[str]:
    return [each.path.name for each in list_runs(folder, order).runs]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two complete runs, one further down, one that is not finished, one damaged."""
    write_run(tmp_path / "a", heldout=3.0)
    write_run(tmp_path / "deep" / "er" / "b", heldout=2.0)
    write_run(tmp_path / "c", *steps([5.0, 1.0]), ("evaluation", {"step": 2, "val_loss": 2.5}))
    write_run(tmp_path / "damaged", heldout=1.0)
    (tmp_path / "damaged" / "training_manifest.json").write_text("{")
    (tmp_path / "no run").mkdir()
    (tmp_path / "file").touch()
    return tmp_path


def test_runs_are_sorted_and_damaged_ones_are_last(folder: Path) -> None:
    assert names(folder, RunOrder.HELDOUT) == ["b", "c", "a", "damaged"]
    assert names(folder, RunOrder.LOSS) == ["c", "b", "a", "damaged"]
    assert names(folder, RunOrder.STEPS) == ["a", "b", "c", "damaged"]
    assert names(folder, RunOrder.TOKENS) == ["a", "b", "c", "damaged"]
    assert names(folder, RunOrder.NAME) == ["a", "b", "c", "damaged"]
    assert names(folder, RunOrder.DATE) == ["a", "b", "c", "damaged"]


def test_a_run_has_its_results_and_its_best_step(folder: Path) -> None:
    document = list_runs(folder, RunOrder.NAME).as_json()
    first, _, unfinished, damaged = json.loads(json.dumps(document))["runs"]
    assert (first["state"], first["heldout_loss"], first["heldout_loss_before"]) == (
        "completed",
        3.0,
        4.0,
    )
    assert (first["best_step"], first["best_heldout_loss"]) == (5, 1.5)
    assert (first["settings"]["--rank"], first["settings"]["--lr"]) == (8, 2e-4)
    assert first["digests"]["model_final.bin"] == "sha256:" + "f" * 64
    assert (unfinished["state"], unfinished["step"], unfinished["train_loss"]) == (
        "interrupted",
        2,
        1.0,
    )
    assert damaged["problem"]["code"].startswith("MENS-A")


def test_a_run_folder_itself_is_a_list_of_one(folder: Path) -> None:
    assert names(folder / "a", RunOrder.NAME) == ["a"]


def test_groups_say_which_heldout_losses_are_comparable(folder: Path) -> None:
    assert list_runs(folder, RunOrder.NAME).n_heldout_groups == 1
    write_run(folder / "other", heldout=1.0, inputs={"valid": "sha256:other"})
    listed = list_runs(folder, RunOrder.NAME)
    groups = {each.path.name: each.heldout_group for each in listed.runs}
    assert groups["a"] == groups["b"] == groups["c"] != groups["other"]
    assert groups["damaged"] is None


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ArtifactError, match="MENS-R104"):
            list_runs(path, RunOrder.NAME)
