"""Checkpoints of every schema version stay readable, and are written to the same bytes again.

`golden/run_v1` was written before there was a choice of optimizers; `golden/run_v2` by this
program, for Lion on rows with weights.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vox_populi.adapters.header import AdapterHeader
from vox_populi.adapters.lora_bin import read_adapter_bin
from vox_populi.errors import ArtifactError
from vox_populi.runs.checkpoint_dir import (
    CheckpointDamagedError,
    list_checkpoints,
    write_checkpoint,
)
from vox_populi.runs.checkpoint_state import SavedState, read_state, state_files

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = ("run_v1", "run_v2")


def golden(name: str) -> SavedState:
    (checkpoint,) = list_checkpoints(GOLDEN / name)
    return read_state(checkpoint)


def write_again(saved: SavedState, run: Path) -> Path:
    header = read_adapter_bin(saved.checkpoint.file("adapter.bin")).header

    def header_at(step: int) -> AdapterHeader:
        return replace(header, step=step)

    run.mkdir()
    files = state_files(saved.state, saved.request, header_at)
    return write_checkpoint(run, saved.state.step, files, keep=1).path


@pytest.mark.parametrize("name", VERSIONS)
def test_a_golden_checkpoint_is_read_and_written_to_the_same_bytes(
    tmp_path: Path, name: str
) -> None:
    saved = golden(name)
    written = write_again(saved, tmp_path / "run")
    names = sorted(path.name for path in saved.checkpoint.path.iterdir())
    assert names == sorted(path.name for path in written.iterdir())
    assert "optimizer.safetensors" in names
    for each in names:
        assert (written / each).read_bytes() == saved.checkpoint.file(each).read_bytes(), each


def test_what_version_1_does_not_say_is_adamw_without_weights() -> None:
    state = golden("run_v1").state
    a, b = state.adapter
    kinds = ("first_moment", "second_moment")
    assert state.optimizer.keys() == {f"{kind}.{name}" for kind in kinds for name in (a, b)}
    assert torch.equal(state.optimizer[f"second_moment.{a}"], state.adapter[a] / 4)
    assert state.epoch_weight == state.epoch_supervised == 7
    assert (state.step, state.optimizer_steps, state.epoch_loss) == (3, 3, 12.3)
    assert state.best_adapter is not None


def test_version_2_has_another_optimizer_and_the_weight_of_the_epoch() -> None:
    saved = golden("run_v2")
    assert saved.request.contract["optimizer"] == "lion"
    assert saved.state.optimizer.keys() == {f"momentum.{name}" for name in saved.state.adapter}
    assert (saved.state.epoch_weight, saved.state.epoch_supervised) == (9.25, 7)


@pytest.mark.parametrize(
    ("request_says", "problem"),
    [({"optimizer": "lion"}, "does not fit adapter.bin"), ({"optimizer": "sgd"}, "sgd")],
)
def test_the_state_must_be_of_the_optimizer_of_the_request(
    tmp_path: Path, request_says: dict[str, object], problem: str
) -> None:
    saved = golden("run_v1")
    contract = {**saved.request.contract, **request_says}
    other = replace(saved, request=replace(saved.request, contract=contract))
    write_again(other, tmp_path / "run")
    (checkpoint,) = list_checkpoints(tmp_path / "run")
    with pytest.raises(CheckpointDamagedError, match=problem):
        read_state(checkpoint)


def test_a_newer_version_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(GOLDEN / "run_v2", tmp_path / "run")
    monkeypatch.setattr("vox_populi.runs.checkpoint_state.STATE_SCHEMA_VERSION", 1)
    (checkpoint,) = list_checkpoints(tmp_path / "run")
    assert json.loads(checkpoint.file("state.json").read_bytes())["schema_version"] == 2
    with pytest.raises(ArtifactError) as caught:
        read_state(checkpoint)
    assert not isinstance(caught.value, CheckpointDamagedError)
