"""A comparison shows what differs, and never lets losses of different rows pass as comparable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from packages.vox_populi.tests.run_folders import write_run
from vox_populi.errors import ArtifactError, ConfigError
from vox_populi.pipeline.compare import CompareReport, compare


def two_runs(folder: Path, **second: Any) -> CompareReport:
    first = write_run(folder / "a", heldout=3.0)
    return compare([first, write_run(folder / "b", heldout=2.0, **second)])


def test_settings_that_differ_are_shown_by_their_flags(tmp_path: Path) -> None:
    report = two_runs(tmp_path, contract={"learning_rate": 1e-3, "lora": {"rank": 8}})
    document = json.loads(json.dumps(report.as_json()))
    assert document["settings"] == {"--lr": [2e-4, 1e-3], "--alpha": [16.0, None]}
    assert document["program"] == {}
    assert document["same_inputs"] == dict.fromkeys(("base", "data", "tokenizer", "template"), True)
    assert document["heldout_comparable"] is True
    assert report.notes == ()


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        ({"inputs": {"valid": "sha256:x"}}, "held-out rows"),
        ({"inputs": {"data": "sha256:x"}}, "held-out rows"),
        ({"inputs": {"tokenizer": "sha256:x"}}, "tokenizer"),
        ({"contract": {"seed": 1}}, "--seed"),
        ({"contract": {"seq_len": 64}}, "--seq-len"),
    ],
)
def test_losses_of_other_rows_are_marked(
    tmp_path: Path, second: dict[str, Any], reason: str
) -> None:
    report = two_runs(tmp_path, **second)
    assert report.found.heldout_differs_by == (reason,)
    assert len(report.notes) == 1


def test_a_seed_does_not_matter_for_a_file_of_heldout_rows(tmp_path: Path) -> None:
    valid = {"inputs": {"valid": "sha256:same"}}
    first = write_run(tmp_path / "a", heldout=3.0, **valid)
    second = write_run(tmp_path / "b", heldout=3.0, contract={"seed": 7}, **valid)
    assert compare([first, second]).found.are_heldout_comparable


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", heldout=3.0)
    with pytest.raises(ConfigError, match="MENS-R106"):
        compare([run])
    with pytest.raises(ConfigError, match="MENS-R105"):
        compare([run, tmp_path / "." / "a"])
    with pytest.raises(ArtifactError, match="MENS-A022"):
        compare([run, tmp_path])
