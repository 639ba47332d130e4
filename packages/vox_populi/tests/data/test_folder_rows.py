from __future__ import annotations

from pathlib import Path

import pytest

from vox_populi.data.folder_rows import other_rows, rows_in_file, unread_files, valid_file
from vox_tensor.file_form import FileForm

ROW = '{"prompt": "a", "response": "b"}\n'


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ROW if path.suffix == ".jsonl" else "", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("names", "used", "unread"),
    [
        ((), None, ()),
        (("valid.jsonl",), "valid.jsonl", ()),
        (("validation.jsonl",), "validation.jsonl", ()),
        (("val.jsonl", "test.jsonl"), "val.jsonl", ("test.jsonl",)),
        (("dev.jsonl",), "dev.jsonl", ()),
        (("eval.jsonl",), "eval.jsonl", ()),
        (("valid.jsonl", "val.jsonl"), "valid.jsonl", ("val.jsonl",)),
        (("test.jsonl",), None, ("test.jsonl",)),
    ],
)
def test_held_out_rows_have_one_of_the_usual_names(
    tmp_path: Path, names: tuple[str, ...], used: str | None, unread: tuple[str, ...]
) -> None:
    fill(tmp_path, "train.jsonl", *names)
    assert valid_file(tmp_path) == used
    assert unread_files(tmp_path, used) == unread


@pytest.mark.parametrize(
    ("names", "seen", "form"),
    [
        (("train.csv", "valid.csv"), "train.csv", FileForm.CSV),
        (("train.json",), "train.json", FileForm.JSON_ARRAY),
        (("alpaca.json", "valid.jsonl"), "alpaca.json", FileForm.JSON_ARRAY),
        (("train.parquet",), "train.parquet", FileForm.PARQUET),
        (("train.jsonl.gz",), "train.jsonl.gz", FileForm.GZIP),
        (("rows.jsonl", "a.csv"), "rows.jsonl", FileForm.JSON_LINES),
        (("other.jsonl", "train.csv"), "train.csv", FileForm.CSV),
        (("data/train-00000-of-00001.parquet", "README.md"),
         "data/train-00000-of-00001.parquet", FileForm.PARQUET),
        (("state.json", "dataset_info.json", "data-00000-of-00001.arrow"), ".", FileForm.DATASET),
        (("dataset_dict.json", "test/state.json", "test/d.arrow", "train/state.json"),
         "train", FileForm.DATASET),
        (("README.md", "valid.jsonl", ".hidden.jsonl", "test.jsonl"), None, None),
        ((), None, None),
    ],
)  # fmt: skip
def test_the_likeliest_rows_of_a_folder_are_named(
    tmp_path: Path, names: tuple[str, ...], seen: str | None, form: FileForm | None
) -> None:
    rows = other_rows(fill(tmp_path, *names))
    if seen is None:
        assert rows is None
        return
    assert rows is not None
    assert (rows.path, rows.form) == (tmp_path / seen, form)


def test_content_is_believed_before_the_name(tmp_path: Path) -> None:
    (tmp_path / "train.json").write_text('{\n  "prompt": "a"\n}\n', encoding="utf-8")
    rows = other_rows(tmp_path)
    assert rows is not None
    assert rows.form is FileForm.JSON_DOCUMENT


def test_a_file_without_a_form_is_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("text", encoding="utf-8")
    assert rows_in_file(tmp_path / "notes.txt") is None
    assert rows_in_file(tmp_path / "gone.txt") is None


def test_a_folder_of_very_many_files_is_looked_at_in_part(tmp_path: Path) -> None:
    for number in range(1200):
        (tmp_path / f"{number}.md").touch()
    assert other_rows(tmp_path) is None
