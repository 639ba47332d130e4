"""Which files the README of a data set gives to which split, beside the library `datasets`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vox_populi.data.folder_rows import FolderRows, asked_place, files_of, folder_rows
from vox_populi.errors import DataError

yaml = pytest.importorskip("yaml", reason="needs pyyaml")

FILES = (
    *("data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl"),
    *("data/test-00000-of-00001.jsonl", "fr/train.jsonl", "fr/dev.jsonl", "fr/.hidden.jsonl"),
    *("raw/one.jsonl", "raw/deep/two.jsonl", "raw/ten/10.jsonl", "raw/ten/9.jsonl"),
)
ENGLISH = {
    "config_name": "en",
    "data_files": [
        {"split": "train", "path": "data/train-*"},
        {"split": "test", "path": ["data/test-*"]},
    ],
}
FRENCH = {"config_name": "fr", "data_dir": "fr"}


def written(folder: Path, *configs: Any, before: str = "", after: str = "# Title\n") -> Path:
    for name in FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        row = json.dumps({"prompt": name, "response": "r"})
        path.write_text(f"{row}\n", encoding="utf-8")
    front = yaml.safe_dump({"license": "mit", "configs": list(configs)})
    (folder / "README.md").write_text(f"{before}---\n{front}---\n{after}", encoding="utf-8")
    return folder


def names(folder: Path, found: FolderRows) -> dict[str, list[str]]:
    splits = {"train": found.train, "valid": found.valid, "test": found.test}
    return {
        split: [path.relative_to(folder).as_posix() for path in files]
        for split, files in splits.items()
        if files
    }


def code_of(folder: Path, config: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        folder_rows(folder, config=config)
    (problem,) = caught.value.problems
    return problem.code


CONFIGS: tuple[tuple[dict[str, Any], dict[str, list[str]]], ...] = (
    (ENGLISH, {"train": list(FILES[:2]), "test": [FILES[2]]}),
    ({"data_files": "raw/*.jsonl"}, {"train": ["raw/one.jsonl"]}),
    ({"data_files": ["raw/one.jsonl", "raw/deep/*"]}, {"train": list(FILES[6:8])}),
    (
        {"data_files": [{"split": "train", "path": "raw/**/*.jsonl"}]},
        {"train": ["raw/deep/two.jsonl", "raw/one.jsonl", "raw/ten/9.jsonl", "raw/ten/10.jsonl"]},
    ),
    (
        {
            "data_files": [
                {"split": "train", "path": "fr/*.jsonl"},
                {"split": "validation", "path": "fr/dev.jsonl"},
            ],
        },
        {"train": ["fr/dev.jsonl", "fr/train.jsonl"], "valid": ["fr/dev.jsonl"]},
    ),
    (FRENCH, {"train": ["fr/train.jsonl"], "valid": ["fr/dev.jsonl"]}),
)


@pytest.mark.parametrize(("config", "expected"), CONFIGS)
def test_files_belong_to_the_splits_that_the_readme_says(
    tmp_path: Path, config: dict[str, Any], expected: dict[str, list[str]]
) -> None:
    folder = written(tmp_path, config)
    found = folder_rows(folder)
    assert names(folder, found) == expected
    assert found.unread == (("test-00000-of-00001.jsonl",) if "test" in expected else ())


@pytest.mark.parametrize(("config", "expected"), CONFIGS)
def test_the_library_of_the_hub_reads_the_same_rows(
    tmp_path: Path, config: dict[str, Any], expected: dict[str, list[str]]
) -> None:
    datasets = pytest.importorskip("datasets", reason="needs the library datasets")
    # The library demands a name; here a single configuration may have none.
    folder = written(tmp_path / "set", {"config_name": "one", **config})
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    words = {"train": "train", "validation": "valid", "test": "test"}
    theirs = {words[str(split)]: sorted(rows["prompt"]) for split, rows in loaded.items()}
    assert theirs == {split: sorted(files) for split, files in expected.items()}


def test_the_default_is_used_and_the_others_are_named(tmp_path: Path) -> None:
    folder = written(tmp_path, ENGLISH, {**FRENCH, "default": True})
    found = folder_rows(folder)
    assert names(folder, found)["train"] == ["fr/train.jsonl"]
    assert found.unread == ("configuration en",)
    called = written(tmp_path, ENGLISH, {**FRENCH, "config_name": "default"})
    assert folder_rows(called).train == found.train


def test_of_several_one_must_be_named(tmp_path: Path) -> None:
    folder = written(tmp_path, ENGLISH, FRENCH)
    with pytest.raises(DataError) as caught:
        folder_rows(folder)
    (problem,) = caught.value.problems
    assert problem.code == "MENS-D247"
    assert "en, fr" in problem.what
    assert f"--data {folder}:NAME" in problem.fix
    assert files_of([Path(f"{folder}:fr")]).train == (folder / "fr/train.jsonl",)
    assert files_of([Path(f"{folder}:en")]).train == tuple(folder / each for each in FILES[:2])
    assert code_of(folder, "de") == "MENS-D247"


def test_a_name_behind_a_colon_is_a_path_if_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert asked_place(tmp_path / "a:b") == (tmp_path / "a", "b")
    (tmp_path / "a:b").mkdir()
    assert asked_place(tmp_path / "a:b") == (tmp_path / "a:b", None)
    assert asked_place(tmp_path / "c:d") == (tmp_path / "c:d", None)
    assert code_of(tmp_path / "a", "b") == "MENS-D247"


@pytest.mark.parametrize(
    "config",
    [
        {"data_files": "none-*.jsonl"},
        {"data_files": "/etc/*"},
        {"data_files": "../*.jsonl"},
        {"data_files": "raw/../../x"},
        {"data_dir": ".."},
        {"data_dir": "fr", "data_files": "../data/*"},
        {"data_files": ""},
        {"data_files": 7},
        {"data_files": [{"split": "train", "path": 7}]},
        {"data_files": [7]},
        {"data_dir": 7},
        "text",
        7,
    ],
)
def test_a_list_that_gives_no_files_is_refused(tmp_path: Path, config: Any) -> None:
    assert code_of(written(tmp_path, config)) == "MENS-D248"


def test_splits_of_other_names_are_named(tmp_path: Path) -> None:
    splits = [{"split": "train_sft", "path": "raw/one.jsonl"}]
    folder = written(tmp_path, {"data_files": splits})
    assert code_of(folder) == "MENS-D250"


@pytest.mark.parametrize(
    "front",
    [
        "---\nconfigs: [\n---\n",
        "---\nconfigs: !!python/object/apply:os.system [true]\n---\n",
        "---\nconfigs: {a: 1}\n---\n",
        "---\nconfigs: &a [*a]\n---\n",
        "---\n- x\nconfigs: 1\n---\n",
    ],
)
def test_damaged_yaml_is_one_problem(tmp_path: Path, front: str) -> None:
    written(tmp_path, ENGLISH)
    (tmp_path / "README.md").write_text(front, encoding="utf-8")
    assert code_of(tmp_path) == "MENS-D248"


@pytest.mark.parametrize("before", ["\n", "# Title\n", "text\n"])
def test_yaml_that_does_not_start_the_readme_is_text(tmp_path: Path, before: str) -> None:
    folder = written(tmp_path, FRENCH, before=before)
    assert names(folder, folder_rows(folder))["train"] == list(FILES[:2])


def test_without_a_reader_of_yaml_the_way_out_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = written(tmp_path, FRENCH)
    monkeypatch.setattr("vox_populi.extras.is_installed", lambda _: False)
    assert code_of(folder) == "MENS-D249"
    (folder / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    assert folder_rows(folder).train
