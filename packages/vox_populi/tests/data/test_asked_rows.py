from __future__ import annotations

from pathlib import Path

import pytest

from vox_populi.data.asked_rows import open_measured_rows, open_training_rows, shown_asked
from vox_populi.data.row_files.row_file import FileRow, RowFile
from vox_populi.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.csv").write_text(f"prompt,response\na,{name}\n", encoding="utf-8")
    return tmp_path


def answers(rows: RowFile) -> list[object]:
    return [row.value["response"] for row in rows.scan() if isinstance(row, FileRow)]


def test_a_folder_is_trained_on_and_measured_by_its_splits(folder: Path) -> None:
    assert answers(open_training_rows(folder)) == ["train"]
    assert answers(open_measured_rows(folder)) == ["test"]
    (folder / "test.csv").unlink()
    assert answers(open_measured_rows(folder)) == ["valid"]
    (folder / "valid.csv").unlink()
    assert answers(open_measured_rows(folder)) == ["train"]


def test_several_paths_are_read_in_order(folder: Path) -> None:
    paths = (folder / "valid.csv", folder)
    assert answers(open_training_rows(paths)) == ["valid", "train"]
    assert answers(open_measured_rows(paths)) == ["valid", "test"]
    assert shown_asked(paths) == f"{folder}/valid.csv, {folder}"
    assert shown_asked(folder) == str(folder)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    for opens in (open_training_rows, open_measured_rows):
        with pytest.raises(DataError, match="MENS-D176"):
            opens(tmp_path)
