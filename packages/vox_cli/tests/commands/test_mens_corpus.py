from __future__ import annotations

import json
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


def rows_file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


GOOD = json.dumps({"prompt": "Say hi.", "response": "hi", "rating": 4})


def test_good_rows_are_counted(vox: Vox, tmp_path: Path) -> None:
    document = vox("mens", "corpus", "validate", rows_file(tmp_path, GOOD, GOOD), "--json").document
    assert document["ok"] is True
    assert (document["rows"], document["accepted"], document["rejected"]) == (2, 2, 0)
    assert document["ratings"] == {"4": 2}


def test_bad_rows_are_refused_with_their_lines(vox: Vox, tmp_path: Path) -> None:
    path = rows_file(tmp_path, GOOD, '{"prompt": "secret"', GOOD, '{"prompt": 3}')
    outcome = vox("mens", "corpus", "validate", path)
    assert outcome.code == 3
    assert f"{path}:2" in outcome.err
    assert f"{path}:4" in outcome.err
    assert "secret" not in outcome.err
    assert "rejected" in outcome.out


def test_json_has_counts_and_problems_in_one_document(vox: Vox, tmp_path: Path) -> None:
    path = rows_file(tmp_path, GOOD, "not json")
    document = vox("mens", "corpus", "validate", path, "--json").document
    assert (document["ok"], document["exit_code"]) == (False, 3)
    assert (document["rows"], document["accepted"]) == (2, 1)
    assert [problem["where"] for problem in document["problems"]] == [f"{path}:2"]


def test_rows_that_pass_go_to_another_file(vox: Vox, tmp_path: Path) -> None:
    path = rows_file(tmp_path, GOOD, "not json")
    before = path.read_bytes()
    assert vox("mens", "corpus", "validate", path, "--output", tmp_path / "good.jsonl").code == 3
    assert (tmp_path / "good.jsonl").read_text(encoding="utf-8").strip() == GOOD
    assert vox("mens", "corpus", "validate", path, "--output", path).code == 3
    assert path.read_bytes() == before


def test_a_missing_file_is_refused(vox: Vox, tmp_path: Path) -> None:
    outcome = vox("mens", "corpus", "validate", tmp_path / "no.jsonl", "--json")
    assert outcome.code == 3
    assert outcome.document["ok"] is False
