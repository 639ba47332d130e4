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


def test_pairs_are_written_from_documents(vox: Vox, tmp_path: Path) -> None:
    docs, out = tmp_path / "docs", tmp_path / "out"
    (docs / "archive").mkdir(parents=True)
    for i in range(30):
        text = f"# Topic {i}\n\n" + f"Topic {i} is described here in whole sentences. " * 4
        (docs / f"{i}.md").write_text(text, encoding="utf-8")
        (docs / "archive" / f"old{i}.md").write_text(text + "Old.", encoding="utf-8")
    argv = ["mens", "corpus", "pairs", "--from-markdown", docs, "--output-dir", out]
    outcome = vox(*argv)
    assert outcome.code == 0
    assert "30 files of archives are left out" in outcome.err
    first = (out / "train.jsonl").read_bytes()
    document = vox(*argv, "--json", "--force").document
    assert (out / "train.jsonl").read_bytes() == first
    assert document["archived"] == 30
    assert document["train_rows"] + document["heldout_rows"] == 30
    assert vox(*argv, "--include-archive").code == 3, "other content"


def test_pairs_have_one_source_and_usable_rules(vox: Vox, sources: Path, tmp_path: Path) -> None:
    argv = ["mens", "corpus", "pairs", "--output-dir", tmp_path / "out"]
    assert vox(*argv).codes == ["MENS-D239"]
    both = vox(*argv, "--from-python", sources, "--from-markdown", sources)
    assert (both.code, both.codes) == (2, ["MENS-D239"])
    rules = tmp_path / "rules.toml"
    rules.write_text("schema_version = 1\n[[rule]]\nname = 'a'\npattern = '(a+)+('\n", "utf-8")
    refused = vox(*argv, "--from-python", sources, "--legacy-rules", rules)
    assert (refused.code, refused.codes) == (2, ["MENS-D236"])
    assert not (tmp_path / "out").exists()
