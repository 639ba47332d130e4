"""Rows with weights on the way of a whole run: refused, learned, kept in checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.dataset import OnBadRow
from vox_populi.errors import PreflightError
from vox_populi.pipeline.train import Resume, RunOptions, run_training

MakeContract = Callable[..., FinetuneContract]
WriteRows = Callable[..., Path]
BYTES = ("model_final.bin", "training_manifest.json", "MODEL_CARD.md")


def row(letter: str, **extra: object) -> dict[str, object]:
    return {"prompt": f"Say {letter}.", "response": letter * 5, **extra}


def test_weights_change_what_is_learned_and_a_run_with_them_can_be_resumed(
    make_contract: MakeContract, write_rows: WriteRows, tmp_path: Path
) -> None:
    contract = make_contract(output_dir=tmp_path / "plain")
    write_rows([row(letter) for letter in "abcdef"])
    plain = run_training(contract, RunOptions())
    write_rows([row(letter, weight=1) for letter in "abcdef"])
    ones = run_training(replace(contract, output_dir=tmp_path / "ones"), RunOptions())
    write_rows([row(letter, weight=5 if letter < "c" else 0.5) for letter in "abcdef"])
    heavy = replace(contract, output_dir=tmp_path / "heavy")
    weighed = run_training(heavy, RunOptions(checkpoint_every=2, keep_checkpoints=9))
    assert ones.train_loss == plain.train_loss != weighed.train_loss
    assert ones.heldout_loss_before == plain.heldout_loss_before == weighed.heldout_loss_before
    checkpoint = weighed.run / "checkpoints" / "step-2"
    state = json.loads((checkpoint / "state.json").read_bytes())
    assert state["schema_version"] == 2
    assert state["epoch_weight"] != state["epoch_supervised"]
    resumed = run_training(
        replace(contract, output_dir=tmp_path / "resumed"), RunOptions(resume=Resume(checkpoint))
    )
    assert resumed.resumed_from == 2
    for name in BYTES:
        assert (resumed.run / name).read_bytes() == (weighed.run / name).read_bytes(), name


def test_a_bad_weight_is_a_bad_row(
    make_contract: MakeContract, write_rows: WriteRows, tmp_path: Path
) -> None:
    contract = make_contract(output_dir=tmp_path / "bad")
    write_rows([row("a"), row("b", weight=0), row("c", weight="much"), row("d")])
    with pytest.raises(PreflightError) as caught:
        run_training(contract, RunOptions())
    assert [problem.code for problem in caught.value.problems] == ["MENS-D031"] * 2
    places = [str(problem.where).rsplit(":", 1)[-1] for problem in caught.value.problems]
    assert places == ["2", "3"]
    assert not contract.output_dir.exists()
    skipping = make_contract(output_dir=contract.output_dir, on_bad_row=OnBadRow.SKIP)
    report = run_training(skipping, RunOptions())
    manifest = json.loads((report.run / "training_manifest.json").read_bytes())
    assert manifest["train_counts"]["kept"] == 2
