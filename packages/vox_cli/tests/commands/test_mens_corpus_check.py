from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Vox = Callable[..., Any]
GOOD = {"prompt": "Say hi.", "response": "hi"}


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.jsonl"
    rows = [GOOD, GOOD, {"prompt": "Say ho.", "response": "ho"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def valid(tmp_path: Path) -> Path:
    path = tmp_path / "valid.jsonl"
    path.write_text(json.dumps(GOOD) + "\n", encoding="utf-8")
    return path


def test_counts_are_printed(vox: Vox, train: Path) -> None:
    outcome = vox("mens", "corpus", "check", train)
    assert outcome.code == 0
    assert "repeated rows              1 (33.3 %, in 1 group)" in outcome.out
    assert f"2 equal rows: {train}:1, {train}:2" in outcome.out


def test_a_missed_gate_is_one_line_and_exit_6(vox: Vox, train: Path, valid: Path) -> None:
    outcome = vox("mens", "corpus", "check", train, "--eval", valid)
    assert (outcome.code, outcome.codes) == (6, ["MENS-D212"])
    assert "--max-overlap" in outcome.err
    argv = ["mens", "corpus", "check", train, "--max-duplicates", 0.1, "--json"]
    outcome = vox(*argv)
    assert (outcome.code, outcome.document["ok"]) == (6, False)
    assert outcome.document["duplicates"]["rows"] == 1


def test_several_files_and_a_page(vox: Vox, train: Path, valid: Path, tmp_path: Path) -> None:
    page = tmp_path / "corpus.html"
    argv = ["mens", "corpus", "check", train, valid, "--tokenizer", "vox", "--html", page]
    outcome = vox(*argv)
    assert outcome.code == 0
    assert "tokens per row" in outcome.out
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert vox(*argv).codes == ["MENS-D214"]


def test_bad_input_is_one_line(vox: Vox, train: Path, tmp_path: Path) -> None:
    missing = vox("mens", "corpus", "check", tmp_path / "no.jsonl")
    assert (missing.code, len(missing.codes)) == (3, 1)
    twice = vox("mens", "corpus", "check", train, train)
    assert (twice.code, twice.codes) == (2, ["MENS-D217"])
    without_base = vox("mens", "corpus", "check", train, "--seq-len", 64)
    assert (without_base.code, without_base.codes) == (2, ["MENS-D218"])
