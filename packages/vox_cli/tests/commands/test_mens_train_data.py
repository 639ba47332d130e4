"""`--data` of `vox mens train`, from each place a setting can come from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Vox = Callable[..., Any]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "with space.csv"
    rows = "".join(f"Say {n}.,{n}!\n" for n in range(30))
    path.write_text(f"prompt,response\n{rows}", encoding="utf-8")
    return path


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "more.json"
    path.write_text('[{"prompt": "a", "response": "b"}]', encoding="utf-8")
    return path


@pytest.fixture
def rows_of(vox: Vox, tmp_path: Path) -> Callable[..., int]:
    def counted(*flags: object) -> int:
        outcome = vox(
            "mens", "train", *flags, "--output-dir", tmp_path / "out", "--dry-run", "--json"
        )
        assert outcome.code == 0, outcome.err
        data = outcome.document["data"]
        total: int = data["train_rows"] + data["valid_rows"]
        return total

    return counted


def test_files_and_folders_add_up(rows_of: Callable[..., int], table: Path, text: Path) -> None:
    assert rows_of("--data", table) == 30
    assert rows_of("--data", text, "--data", table) == 31
    assert rows_of("--data-dir", folder_with_train(table)) == 30
    assert rows_of("--data", folder_with_train(table), "--data", text) == 31


def folder_with_train(table: Path) -> Path:
    folder = table.parent / "named"
    folder.mkdir(exist_ok=True)
    (folder / "train.tsv").write_bytes(table.read_bytes())
    return folder


def test_variable_and_file_take_several(
    rows_of: Callable[..., int],
    table: Path,
    text: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(f"data: [{table.name}, more.json]\n", encoding="utf-8")
    assert rows_of("--config", config) == 31
    config.write_text("data: more.json\nseed: 1\n", encoding="utf-8")
    assert rows_of("--config", config, "--data", table) == 30
    monkeypatch.setenv("VOX_MENS_DATA", f"{table}{os.pathsep}{text}")
    assert rows_of() == 31


def test_a_flag_replaces_the_other_way_of_a_weaker_source(
    rows_of: Callable[..., int], table: Path, tmp_path: Path
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("data_dir: nowhere\n", encoding="utf-8")
    assert rows_of("--config", config, "--data", table) == 30


@pytest.mark.parametrize(
    ("flags", "code", "problem"),
    [
        (["--data", "a.csv", "--data-dir", "b"], 3, "MENS-D178"),
        ([], 2, "MENS-D177"),
        (["--data", "https://host/a.csv"], 2, "MENS-U060"),
        (["--data", "nowhere.csv"], 3, "MENS-D001"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    vox: Vox, tmp_path: Path, flags: list[str], code: int, problem: str
) -> None:
    outcome = vox("mens", "train", *flags, "--output-dir", tmp_path / "out", "--dry-run", "--json")
    assert outcome.code == code
    assert [each["code"] for each in outcome.document["problems"]] == [problem]
    assert not (tmp_path / "out").exists()


def test_print_config_can_be_read_back(vox: Vox, table: Path, text: Path, tmp_path: Path) -> None:
    asked = ("--data", table, "--data", text, "--output-dir", tmp_path / "out")
    shown = vox("mens", "train", *asked, "--print-config").out
    config = tmp_path / "again.yaml"
    config.write_text(shown, encoding="utf-8")
    again = vox("mens", "train", "--config", config, "--print-config", "--json").document
    assert again["settings"]["data"]["value"] == [str(table), str(text)]
