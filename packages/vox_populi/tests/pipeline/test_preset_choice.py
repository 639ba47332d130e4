"""`--preset auto`: the largest preset whose plan fits; nothing is guessed where none does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from vox_populi import api
from vox_populi.api import plan_training
from vox_populi.contract.choices import Backend, DeviceKind, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import ContractError, EnvironmentFailure
from vox_populi.pipeline import preset_choice
from vox_populi.pipeline.preset_choice import SHARE, choose_preset, plans_of_ladder
from vox_populi.pipeline.train import TrainReport
from vox_populi.plan.device_choice import MachineFacts

GIB = 2**30


@pytest.fixture
def machine_with(monkeypatch: pytest.MonkeyPatch) -> Any:
    def of(memory: int | None, **facts: Any) -> None:
        machine = MachineFacts(n_cpus=2, memory_bytes=memory, **facts)
        monkeypatch.setattr(preset_choice, "probe_machine", lambda *_: machine)

    return of


def needed(name: str, machine_with: Any, **given: object) -> int:
    """The least memory on which a preset is chosen."""
    machine_with(64 * GIB)
    return math.ceil(dict(plans_of_ladder(given))[name].memory.total / SHARE)


def chosen_or_smaller(given: Mapping[str, object]) -> tuple[str, ...]:
    """The presets of the ladder from the chosen one on; none if nothing fits."""
    try:
        name = choose_preset(given).name
    except EnvironmentFailure:
        return ()
    return preset_choice.LADDER[preset_choice.LADDER.index(name) :]


SHORT = {"seq_len": 64}
"""So that all presets have rows that the embedded base has positions for."""


def test_more_memory_gives_a_larger_preset_and_the_note_says_why(machine_with: Any) -> None:
    machine_with(64 * GIB)
    chosen = choose_preset(SHORT)
    assert chosen.name == "a100"
    assert "chose a100" in chosen.note
    assert "64.0 GiB of cpu" in chosen.note
    largest, smallest = (needed(name, machine_with, **SHORT) for name in ("a100", "safe"))
    assert largest > smallest
    machine_with(largest - 2)
    assert "a100" not in chosen_or_smaller(SHORT)


def test_an_estimate_takes_only_a_part_of_the_memory(machine_with: Any) -> None:
    limit = needed("safe", machine_with, **SHORT)
    machine_with(int(limit * (1 + SHARE) / 2))
    with pytest.raises(EnvironmentFailure, match="MENS-E094"):
        choose_preset(SHORT)


def test_where_nothing_fits_nothing_is_chosen(machine_with: Any) -> None:
    machine_with(2**20)
    with pytest.raises(EnvironmentFailure, match=r"MENS-E094.*--preset.*safe, needs about"):
        choose_preset(SHORT)
    machine_with(None)
    with pytest.raises(EnvironmentFailure, match=r"MENS-E093.*not known"):
        choose_preset(SHORT)


def test_a_preset_with_longer_rows_than_the_base_has_positions_for_is_passed_over(
    machine_with: Any, make_base: Callable[[], Path]
) -> None:
    machine_with(64 * GIB)
    base = make_base()
    config = json.loads((base / "config.json").read_bytes())
    (base / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 512}))
    given = {"model_dir": base, "tokenizer": TokenizerKind.VOX}
    assert choose_preset(given).name == "4080", "a100 has rows of 1024 tokens"
    assert choose_preset({**given, "seq_len": 512}).name == "a100"
    with pytest.raises(EnvironmentFailure, match="positions"):
        choose_preset({**given, "seq_len": 4096})


def test_given_settings_are_planned_with(machine_with: Any) -> None:
    machine_with(needed("a100", machine_with, **SHORT) + 2)
    assert choose_preset(SHORT).name == "a100"
    assert "a100" not in chosen_or_smaller({**SHORT, "batch_size": 64})


def test_settings_that_contradict_each_other_are_told(machine_with: Any) -> None:
    machine_with(64 * GIB)
    with pytest.raises(ContractError, match="MENS-C003"):
        choose_preset({"backend": Backend.QLORA, "tokenizer": TokenizerKind.VOX})


def test_a_missing_device_is_told(machine_with: Any) -> None:
    machine_with(64 * GIB, has_cuda=False, has_mps=False)
    with pytest.raises(EnvironmentFailure, match="MENS-P007"):
        choose_preset({"device": DeviceKind.CUDA})


def test_a_program_gets_the_name_of_the_preset(machine_with: Any, tmp_path: Any) -> None:
    machine_with(64 * GIB)
    (tmp_path / "train.jsonl").write_text('{"prompt": "p", "response": "r"}\n' * 30, "utf-8")
    planned = plan_training(tmp_path, tmp_path / "run", preset="auto", rank=2)
    assert (planned.contract.preset, planned.contract.lora.rank) == ("a100", 2)
    assert planned.contract.batching.seq_len == 1024
    assert "a100" in planned.notes[0]
    assert planned.as_json()["notes"] == list(planned.shown_notes)


def test_a_program_is_told_of_the_preset_before_it_trains(
    machine_with: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine_with(64 * GIB)
    lines: list[str] = []

    def run(contract: FinetuneContract, *_: object) -> TrainReport:
        assert ["chose a100" in line for line in lines] == [True] * (contract.preset == "a100")
        return TrainReport(
            run=contract.output_dir,
            steps=1,
            planned_steps=1,
            tokens=1,
            supervised_tokens=1,
            train_loss=None,
            heldout_loss_before=None,
            heldout_loss_after=None,
            seconds=1.0,
            peak_memory_bytes=None,
            device="cpu",
            compute_dtype="float32",
            artifacts={},
            notes=("later",),
        )

    monkeypatch.setattr(api, "run_training", run)
    report = api.train_adapter("data", tmp_path / "run", preset="auto", progress=lines.append)
    assert (len(report.notes), report.notes[1]) == (2, "later")
    assert report.notes[0] == lines[0]
    lines.clear()
    assert api.train_adapter("data", "run", preset="safe", progress=None).notes == ("later",)
