from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_cli.config_file import read_config_file
from vox_populi.corpus.validate import validate_corpus

Vox = Callable[..., Any]


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_init_writes_a_config_data_and_a_readme(vox: Vox, tmp_path: Path) -> None:
    outcome = vox("mens", "init", tmp_path / "new" / "demo")
    assert outcome.code == 0
    assert files_below(tmp_path / "new" / "demo") == {"run.yaml", "data/train.jsonl", "README.md"}
    assert "run.yaml" in outcome.out
    assert "vox mens train --config run.yaml" in outcome.err


def test_json_names_the_paths(vox: Vox, tmp_path: Path) -> None:
    document = vox("mens", "init", tmp_path / "demo", "--json").document
    assert document["ok"] is True
    assert set(document["paths"]) == {"config", "data", "readme"}
    assert all(Path(path).is_file() for path in document["paths"].values())


def test_an_empty_folder_is_filled(vox: Vox, tmp_path: Path) -> None:
    assert vox("mens", "init", tmp_path).code == 0
    assert (tmp_path / "run.yaml").is_file()


@pytest.mark.parametrize("name", ["notes.txt", ".hidden"])
def test_an_occupied_folder_is_left_alone(vox: Vox, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    outcome = vox("mens", "init", tmp_path)
    assert (outcome.code, outcome.codes, outcome.out) == (3, ["MENS-P090"], "")
    assert files_below(tmp_path) == {name}


def test_init_refuses_a_file_in_place_of_the_folder(vox: Vox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    outcome = vox("mens", "init", tmp_path / "file")
    assert (outcome.code, outcome.codes) == (5, ["MENS-E090"])
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


def test_the_rows_are_useful(vox: Vox, tmp_path: Path) -> None:
    vox("mens", "init", tmp_path)
    path = tmp_path / "data" / "train.jsonl"
    report = validate_corpus(path)
    assert (report.ok, report.rows) == (True, 40)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len({row["prompt"] for row in rows}) == len({row["response"] for row in rows}) == 40
    for row in rows:
        ast.parse(row["response"])


def test_every_key_of_the_config_is_a_setting(vox: Vox, tmp_path: Path) -> None:
    vox("mens", "init", tmp_path)
    keys = set(read_config_file(tmp_path / "run.yaml").values)
    settings = vox(
        "mens", "train", "--config", tmp_path / "run.yaml", "--print-config", "--json"
    ).document["settings"]
    assert {name for name, each in settings.items() if each["source"] == "file"} == keys
    assert settings["data_dir"]["value"] == str(tmp_path / "data")
