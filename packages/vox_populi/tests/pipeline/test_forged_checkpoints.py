"""Checkpoints whose digests are right and whose numbers no run can have written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import ArtifactError
from vox_populi.pipeline.train import Resume, RunOptions, run_training

MakeContract = Callable[..., FinetuneContract]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")

FORGERIES: list[tuple[str, Any]] = [
    *((name, -5) for name in ("optimizer_steps", "step", "epoch", "index_in_epoch", "tokens")),
    *((name, 2**62) for name in ("optimizer_steps", "step", "epoch", "index_in_epoch", "tokens")),
    *((name, 2**70) for name in ("supervised", "epoch_supervised", "step")),
    ("step", 5),
    ("optimizer_steps", 3),
    ("index_in_epoch", 5),
    ("epoch", 1),
    ("supervised", 2**40),
    ("epoch_supervised", 0),
    ("epoch_loss", 1e308),
    ("epoch_loss", -1.0),
    ("schema_version", -5),
    ("schema_version", 0),
    ("evaluations", [[-1, 2.0]]),
    ("evaluations", [[2**62, 2.0]]),
    ("evaluations", [[1, 2.0], [1, 2.0]]),
    ("evaluations", [[0, 1e308]]),
    ("best", [1, 2.0]),
]


UNHEARD_OF: list[tuple[str, Any]] = [
    *(("epoch_weight", value) for value in (0.0, -1.0, 1e300, "1", None)),
]
"""Fields that only runs on rows with weights have."""


def forge(checkpoint: Path, name: str, value: object) -> None:
    state = json.loads((checkpoint / "state.json").read_text("utf-8"))
    assert state.get(name, state) != value
    state[name] = value
    data = json.dumps(state).encode()
    (checkpoint / "state.json").write_bytes(data)
    manifest = json.loads((checkpoint / "manifest.json").read_text("utf-8"))
    manifest["files"]["state.json"] = {
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    (checkpoint / "manifest.json").write_text(json.dumps(manifest), "utf-8")


def test_counters_that_no_run_can_have_are_refused(
    make_contract: MakeContract, tmp_path: Path
) -> None:
    contract = make_contract(output_dir=tmp_path / "run")
    run_training(contract, RunOptions(checkpoint_every=2, keep_checkpoints=9))
    (contract.output_dir / "training_manifest.json").unlink()
    checkpoint = contract.output_dir / "checkpoints" / "step-2"
    for other in checkpoint.parent.glob("step-*"):
        if other != checkpoint:
            shutil.rmtree(other)
    shutil.copytree(contract.output_dir, tmp_path / "copy")
    for name, value in (*FORGERIES, *UNHEARD_OF):
        shutil.rmtree(contract.output_dir)
        shutil.copytree(tmp_path / "copy", contract.output_dir)
        forge(checkpoint, name, value)
        with pytest.raises(ArtifactError, match=r"MENS-A080") as caught:
            run_training(contract, RunOptions(resume=Resume()))
        assert len(caught.value.problems) == 1, (name, value)
    shutil.rmtree(contract.output_dir)
    shutil.copytree(tmp_path / "copy", contract.output_dir)
    assert run_training(contract, RunOptions(resume=Resume())).resumed_from == 2
