from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from packages.vox_populi.tests.sentencepiece_files import llama_pieces, sentencepiece_bytes

pytest.importorskip("tokenizers", reason="needs vox-mens-cli[mens-gpu]")
Vox = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_bytes(llama_pieces(["hello there"])))
    return tmp_path


def test_a_sentencepiece_folder_gets_a_tokenizer_json(vox: Vox, folder: Path) -> None:
    outcome = vox("mens", "convert-tokenizer", folder)
    assert outcome.code == 0
    assert "tokenizer.model" in outcome.out
    definition = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    assert definition["model"]["byte_fallback"] is True
    assert sorted(path.name for path in folder.iterdir()) == ["tokenizer.json", "tokenizer.model"]
    again = vox("mens", "convert-tokenizer", folder)
    assert (again.code, again.codes) == (3, ["MENS-H154"])
    elsewhere = vox("mens", "convert-tokenizer", folder, "--output", folder / "new" / "t.json")
    assert elsewhere.code == 0
    written = (folder / "new" / "t.json").read_bytes()
    assert written == (folder / "tokenizer.json").read_bytes()


def test_a_run_on_such_a_folder_names_the_command(vox: Vox, folder: Path) -> None:
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "data").mkdir()
    (folder / "data" / "train.jsonl").write_text(
        '{"prompt": "a", "response": "b"}\n', encoding="utf-8"
    )
    words = ("--data-dir", folder / "data", "--output-dir", folder / "run", "--dry-run")
    outcome = vox("mens", "train", "--model", folder, "--tokenizer", "hf", *words)
    assert "MENS-H150" in outcome.codes
    assert f"vox mens convert-tokenizer {folder}" in outcome.err


def test_nothing_to_convert_is_one_line(vox: Vox, tmp_path: Path) -> None:
    outcome = vox("mens", "convert-tokenizer", tmp_path)
    assert (outcome.code, outcome.codes) == (3, ["MENS-H153"])
    assert list(tmp_path.iterdir()) == []
