"""Whole runs on rows with labels that decide order and weight, and runs that state a provenance."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

from vox_populi.adapters.v3.facts import Provenance
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.pipeline.train import Resume, RunOptions, TrainReport, plan_training, run_training
from vox_populi.plan.plan_report import plan_as_text
from vox_populi.runs.find_adapter import find_adapter

MakeContract = Callable[..., FinetuneContract]
WriteRows = Callable[..., Path]
BYTES = ("model_final.bin", "training_manifest.json", "MODEL_CARD.md")
GRADES = [9, 2, None, 7, 1, "3"]


def row(letter: str, **extra: object) -> dict[str, object]:
    return {"prompt": f"Say {letter}.", "response": letter * 5, **extra}


def manifest_of(report: TrainReport) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((report.run / "training_manifest.json").read_bytes())
    return manifest


def notes(contract: FinetuneContract) -> str:
    return "\n".join(plan_training(contract).notes)


def test_a_curriculum_changes_the_run_is_recorded_and_can_be_resumed(
    make_contract: MakeContract, write_rows: WriteRows, tmp_path: Path
) -> None:
    write_rows([row(a, difficulty=g) for a, g in zip("abcdef", GRADES, strict=True)])
    shuffled = run_training(make_contract(output_dir=tmp_path / "shuffled"), RunOptions())
    contract = make_contract(output_dir=tmp_path / "easy", curriculum=True)
    planned = plan_training(contract)
    assert "easy rows first" in plan_as_text(planned.plan)
    assert "1 of 6 rows have no difficulty" in "\n".join(planned.notes)
    easy = run_training(contract, RunOptions(checkpoint_every=2, keep_checkpoints=9))
    assert easy.train_loss != shuffled.train_loss
    assert manifest_of(easy)["curriculum"] is True
    assert "curriculum" not in manifest_of(shuffled)
    resumed = run_training(
        replace(contract, output_dir=tmp_path / "resumed"),
        RunOptions(resume=Resume(easy.run / "checkpoints" / "step-2")),
    )
    assert resumed.resumed_from == 2
    for name in BYTES:
        assert (resumed.run / name).read_bytes() == (easy.run / name).read_bytes(), name


def test_trajectory_weights_do_what_the_same_weights_in_the_rows_do(
    make_contract: MakeContract, write_rows: WriteRows, tmp_path: Path
) -> None:
    write_rows([row(a, weight=3 if a < "c" else 1) for a in "abcdef"])
    by_row = run_training(make_contract(output_dir=tmp_path / "by_row"), RunOptions())
    write_rows([row(a, category="tool_trace" if a < "c" else "code") for a in "abcdef"])
    plain = run_training(make_contract(output_dir=tmp_path / "plain"), RunOptions())
    boosts = {"trajectory_weighting_enabled": True, "trajectory_tool_trace_boost": 3.0}
    weighed = run_training(make_contract(output_dir=tmp_path / "weighed", **boosts), RunOptions())
    assert weighed.train_loss == by_row.train_loss != plain.train_loss
    manifest = manifest_of(weighed)
    assert manifest["trajectory_weighted_pairs"] == 2
    assert manifest["trajectory_tool_trace_boost"] == 3.0
    assert "trajectory_weighting_enabled" not in manifest_of(plain)


def test_settings_without_effect_are_named(
    make_contract: MakeContract, write_rows: WriteRows
) -> None:
    write_rows([row(a, category="code") for a in "abcdef"])
    assert "--curriculum has no effect" in notes(make_contract(curriculum=True))
    found = notes(make_contract(trajectory_tool_trace_boost=2.0))
    assert "--trajectory-weighting-enabled is not set" in found
    found = notes(make_contract(trajectory_weighting_enabled=True, trajectory_quality_boost=2.0))
    assert "--trajectory-quality-floor is not set" in found
    assert "no row has such a category or rating" in found
    assert "has no effect" not in notes(make_contract())


def test_a_stated_provenance_is_in_manifest_card_and_adapter(make_qlora: MakeContract) -> None:
    contract = make_qlora(
        upstream_model_id="someone/model`s", license_class="cc-by-4.0", attribution_required=True
    )
    report = run_training(contract, RunOptions())
    manifest = manifest_of(report)
    found = {name: each for name, each in manifest.items() if name.startswith("provenance_")}
    assert found == {
        "provenance_upstream_model_id": "someone/model`s",
        "provenance_license_class": "cc-by-4.0",
        "provenance_attribution_required": True,
    }
    card = (report.run / "MODEL_CARD.md").read_text("utf-8")
    assert "- licence, as stated: `cc-by-4.0`" in card
    assert "attribution" in card
    sidecar = find_adapter(report.run).sidecar
    assert sidecar is not None
    assert sidecar.facts.provenance == Provenance(
        upstream_model_id="someone/model`s", license_class="cc-by-4.0", attribution_required=True
    )
