from __future__ import annotations

import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Vox = Callable[..., Any]

FUNCTION = '''
def {name}(values):
    """Return every value of a list {name} times over, in order."""
    result = []
    for value in values:
        result.append(value * {factor})
    return result
'''


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    for i in range(40):
        text = FUNCTION.format(name=f"scaled_{i}", factor=i + 2)
        (folder / f"module_{i}.py").write_text(text, encoding="utf-8")
    return folder


def test_pairs_are_written_from_a_folder(vox: Vox, sources: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    outcome = vox("mens", "corpus", "pairs", "--from-python", sources, "--output-dir", out)
    assert outcome.code == 0, outcome.err
    assert {path.name for path in out.iterdir()} == {"train.jsonl", "valid.jsonl"}
    assert "train rows" in outcome.out


def test_pairs_count_in_kept_and_dropped(vox: Vox, sources: Path, tmp_path: Path) -> None:
    argv = ["mens", "corpus", "pairs", "--from-python", sources, "--output-dir", tmp_path / "out"]
    document = vox(*argv, "--max-rows", "5", "--json").document
    assert document["ok"] is True
    assert document["train_rows"] == 5
    assert document["heldout_rows"] <= 5
    assert document["dropped"]["beyond_max_rows"] > 0
    assert [Path(path).name for path in document["paths"]] == ["train.jsonl", "valid.jsonl"]


def test_a_second_corpus_does_not_replace_the_first(
    vox: Vox, sources: Path, tmp_path: Path
) -> None:
    argv = ["mens", "corpus", "pairs", "--from-python", sources, "--output-dir", tmp_path / "out"]
    assert vox(*argv).code == 0
    assert vox(*argv).code == 0, "the same corpus again"
    outcome = vox(*argv, "--max-rows", 3)
    assert (outcome.code, outcome.out) == (3, "")
    assert vox(*argv, "--max-rows", 3, "--force").code == 0


def test_without_a_folder_it_is_the_standard_library(
    vox: Vox, sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"stdlib": str(sources)})
    argv = ["--output-dir", tmp_path / "out", "--json"]
    document = vox("mens", "corpus", "pairs", "--from-python", *argv).document
    assert document["modules"] == 40


def test_pairs_need_a_source_and_a_place(vox: Vox, tmp_path: Path) -> None:
    outcome = vox("mens", "corpus", "pairs", "--from-python", tmp_path)
    assert outcome.code == 2
    assert "--output-dir: this is required" in outcome.err


def test_a_missing_source_folder_is_refused(vox: Vox, tmp_path: Path) -> None:
    outcome = vox(
        "mens", "corpus", "pairs", "--from-python", tmp_path / "no", "--output-dir", tmp_path / "o"
    )
    assert outcome.code == 3
    assert not (tmp_path / "o").exists()
