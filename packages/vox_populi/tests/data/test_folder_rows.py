from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from vox_populi.data.folder_rows import FolderRows, files_of, folder_rows, other_rows, shown_names
from vox_populi.errors import DataError
from vox_tensor.file_form import FileForm

ROW = '{"prompt": "a", "response": "b"}\n'


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ROW, encoding="utf-8")
    return folder


def named(folder: Path, files: tuple[Path, ...]) -> tuple[str, ...]:
    return tuple(path.relative_to(folder).as_posix() for path in files)


@pytest.mark.parametrize(
    ("names", "used", "unread"),
    [
        ((), (), ()),
        (("valid.jsonl",), ("valid.jsonl",), ()),
        (("validation.jsonl",), ("validation.jsonl",), ()),
        (("val.jsonl", "test.jsonl"), ("val.jsonl",), ("test.jsonl",)),
        (("dev.jsonl",), ("dev.jsonl",), ()),
        (("eval.jsonl",), ("eval.jsonl",), ()),
        (("valid.jsonl", "val.jsonl"), ("valid.jsonl",), ("val.jsonl",)),
        (("test.jsonl",), (), ("test.jsonl",)),
        (("validation.csv",), ("validation.csv",), ()),
        (("valid-2.jsonl", "valid-10.jsonl"), ("valid-2.jsonl", "valid-10.jsonl"), ()),
        (("test-0.jsonl", "test-1.jsonl"), (), ("test-0.jsonl and 1 more",)),
        (("results-eval.json", "evaluation-notes.json", "validated.csv"), (), ()),
    ],
)
def test_held_out_rows_have_one_of_the_usual_names(
    tmp_path: Path, names: tuple[str, ...], used: tuple[str, ...], unread: tuple[str, ...]
) -> None:
    found = folder_rows(fill(tmp_path, "train.jsonl", *names))
    assert named(tmp_path, found.train) == ("train.jsonl",)
    assert named(tmp_path, found.valid) == used
    assert found.unread == unread


@pytest.mark.parametrize(
    ("names", "train", "valid"),
    [
        (("train.csv", "valid.csv"), ("train.csv",), ("valid.csv",)),
        (("train.json", "dev.jsonl.gz"), ("train.json",), ("dev.jsonl.gz",)),
        (("train.jsonl", "train.csv", "x.md"), ("train.jsonl",), ()),
        (
            ("data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet",
             "data/validation-00000-of-00001-0123456789abcdef.parquet", "README.md"),
            ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"),
            ("data/validation-00000-of-00001-0123456789abcdef.parquet",),
        ),
        (("train_2.jsonl", "train_10.jsonl", "train_1.jsonl"),
         ("train_1.jsonl", "train_2.jsonl", "train_10.jsonl"), ()),
        (("train/b.jsonl", "train/a.jsonl", "validation/c.jsonl"),
         ("train/a.jsonl", "train/b.jsonl"), ("validation/c.jsonl",)),
        (("a-train.jsonl", "a-valid.jsonl"), ("a-train.jsonl",), ("a-valid.jsonl",)),
        (("default/train.parquet", "default/test.parquet"), ("default/train.parquet",), ()),
        (("rows.jsonl", "valid.jsonl"), (), ("valid.jsonl",)),
        (("README.md", ".train.jsonl"), (), ()),
    ],
)  # fmt: skip
def test_files_belong_to_the_split_they_are_named_after(
    tmp_path: Path, names: tuple[str, ...], train: tuple[str, ...], valid: tuple[str, ...]
) -> None:
    found = folder_rows(fill(tmp_path, *names))
    assert named(tmp_path, found.train) == train
    assert named(tmp_path, found.valid) == valid


def saved(folder: Path, *files: str) -> None:
    fill(folder, *files)
    state = {"_data_files": [{"filename": name} for name in files]}
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")


def test_saved_data_sets_have_their_splits(tmp_path: Path) -> None:
    saved(tmp_path / "one", "data-00001-of-00002.arrow", "data-00000-of-00002.arrow")
    assert named(tmp_path / "one", folder_rows(tmp_path / "one").train) == (
        "data-00001-of-00002.arrow",
        "data-00000-of-00002.arrow",
    )
    both = tmp_path / "both"
    saved(both / "train", "data-00000-of-00001.arrow")
    saved(both / "test", "data-00000-of-00001.arrow")
    (both / "dataset_dict.json").write_text('{"splits": ["train", "test"]}', encoding="utf-8")
    found = folder_rows(both)
    assert named(both, found.train) == ("train/data-00000-of-00001.arrow",)
    assert named(both, found.test) == ("test/data-00000-of-00001.arrow",)


@pytest.mark.parametrize("state", ["", "[]", "{", '{"_data_files": [{"filename": "../../x"}]}'])
def test_a_state_file_leads_nowhere_else(tmp_path: Path, state: str) -> None:
    saved(tmp_path, "a.arrow")
    (tmp_path / "state.json").write_text(state, encoding="utf-8")
    assert {path.parent for path in folder_rows(tmp_path).train} == {tmp_path}


@pytest.mark.parametrize(
    "names",
    [
        ("train.csv", "train.json"),
        ("en/train.parquet", "fr/train.parquet"),
        ("a-train.jsonl", "b-train.jsonl"),
    ],
)
def test_two_sets_of_training_rows_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(DataError) as caught:
        folder_rows(fill(tmp_path, *names))
    (problem,) = caught.value.problems
    assert problem.code == "MENS-D175"
    assert problem.where == str(tmp_path)


@pytest.mark.parametrize(
    ("names", "train"),
    [
        (("b.jsonl", "a.jsonl", "notes.md"), ("a.jsonl", "b.jsonl")),
        (("b.md", "deep/a.txt", "README.md"), ("README.md", "b.md", "deep/a.txt")),
        (("part-10.csv", "part-9.csv"), ("part-9.csv", "part-10.csv")),
    ],
)
def test_a_folder_of_data_needs_no_names(
    tmp_path: Path, names: tuple[str, ...], train: tuple[str, ...]
) -> None:
    fill(tmp_path, *names)
    assert folder_rows(tmp_path).train == ()
    assert named(tmp_path, files_of([tmp_path]).train) == train


def test_several_paths_are_read_in_the_given_order(tmp_path: Path) -> None:
    fill(tmp_path, "b.csv", "one/train.csv", "one/valid.csv", "two/train.jsonl", "two/test.jsonl")
    paths = [tmp_path / "two", tmp_path / "b.csv", tmp_path / "one"]
    found = files_of(paths)
    assert named(tmp_path, found.train) == ("two/train.jsonl", "b.csv", "one/train.csv")
    assert named(tmp_path, found.valid) == ("one/valid.csv",)
    assert found.unread == ("test.jsonl",)
    assert files_of([]) == FolderRows()


def test_every_folder_without_rows_is_reported(tmp_path: Path) -> None:
    fill(tmp_path, "one/config.json", "two/a.csv", "two/b.json")
    with pytest.raises(DataError) as caught:
        files_of([tmp_path / "one", tmp_path / "two"])
    assert [problem.code for problem in caught.value.problems] == ["MENS-D176", "MENS-D175"]


def test_special_files_and_folders_are_not_rows(tmp_path: Path) -> None:
    fill(tmp_path, "real.jsonl", "train.csv/inside.txt")
    os.mkfifo(tmp_path / "train.json")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = folder_rows(tmp_path)
    assert found.train == ()
    (tmp_path / "train.tsv").symlink_to(tmp_path / "nowhere")
    assert named(tmp_path, folder_rows(tmp_path).train) == ("train.tsv",)
    os.mkfifo(tmp_path / "train.jsonl")
    assert named(tmp_path, folder_rows(tmp_path).train) == ("train.jsonl",)


@pytest.mark.parametrize(
    ("names", "seen", "form"),
    [
        (("alpaca.json", "valid.jsonl"), "alpaca.json", FileForm.JSON_ARRAY),
        (("rows.jsonl", "a.csv"), "rows.jsonl", FileForm.JSON_LINES),
        (("notes.md", "a.csv"), "a.csv", FileForm.CSV),
        (("train_set_final.csv", "other.jsonl"), "train_set_final.csv", FileForm.CSV),
        (("deep/rows.parquet",), "deep/rows.parquet", FileForm.PARQUET),
        (("README.md", "valid.jsonl", ".hidden.jsonl", "test.jsonl"), None, None),
        ((), None, None),
    ],
)
def test_the_most_likely_rows_are_named(
    tmp_path: Path, names: tuple[str, ...], seen: str | None, form: FileForm | None
) -> None:
    rows = other_rows(fill(tmp_path, *names))
    if rows is None:
        assert seen is None
    else:
        assert (rows.path.relative_to(tmp_path).as_posix(), rows.form) == (seen, form)


def test_names_of_several_files_are_short() -> None:
    assert shown_names([Path("x/a.csv")]) == "a.csv"
    assert shown_names([Path("x/a.csv"), Path("b.csv")]) == "a.csv and 1 more"
