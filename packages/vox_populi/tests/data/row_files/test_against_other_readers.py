"""The rows that `datasets` and pandas write are those that we read, as they read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from vox_populi.data.folder_rows import folder_rows
from vox_populi.data.row_files.joined_rows import open_all_rows
from vox_populi.data.row_files.row_file import FileRow

WHY = "an oracle that is not among the dependencies"
MESSAGES = [{"role": "user", "content": 'a,\n"é"'}, {"role": "assistant", "content": "b"}]
ROWS: list[dict[str, Any]] = [
    {"messages": MESSAGES, "category": f"c{n}", "rating": n % 5 + 1} for n in range(25)
]
PAIRS = [{"prompt": f'say "{n}",\n please', "response": f"{n}; é"} for n in range(25)]


def found(paths: Sequence[Path]) -> list[dict[str, object]]:
    items = list(open_all_rows(paths).scan())
    assert all(isinstance(item, FileRow) for item in items), items[:1]
    return [item.value for item in items if isinstance(item, FileRow)]


def test_a_saved_data_set_is_read(tmp_path: Path) -> None:
    datasets: Any = pytest.importorskip("datasets", reason=WHY)
    rows = datasets.Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "one", num_shards=3)
    assert found(folder_rows(tmp_path / "one").train) == list(
        datasets.load_from_disk(tmp_path / "one")
    )
    datasets.DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(tmp_path / "both")
    both = folder_rows(tmp_path / "both")
    assert found(both.train) == ROWS
    assert found(both.test) == ROWS[:1]


@pytest.mark.parametrize("form", ["parquet", "json", "csv"])
def test_files_of_the_hubs_layout_are_read(tmp_path: Path, form: str) -> None:
    datasets: Any = pytest.importorskip("datasets", reason=WHY)
    (tmp_path / "data").mkdir()
    whole = datasets.Dataset.from_list(ROWS if form == "parquet" else PAIRS)
    for shard in range(2):
        part = whole.shard(2, shard, contiguous=True)
        getattr(part, f"to_{form}")(tmp_path / "data" / f"train-0000{shard}-of-00002.{form}")
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n", encoding="utf-8")
    theirs = datasets.load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    assert found(folder_rows(tmp_path).train) == list(theirs)


@pytest.mark.parametrize(
    "name", ["a.csv", "a.tsv", "a.json", "a.jsonl.gz", "a.parquet", "a.feather"]
)
def test_what_pandas_writes_is_read(tmp_path: Path, name: str) -> None:
    pandas: Any = pytest.importorskip("pandas", reason=WHY)
    frame = pandas.DataFrame(PAIRS)
    path = tmp_path / name
    if name.endswith("json"):
        frame.to_json(path, orient="records", indent=2)
    elif name.endswith("gz"):
        frame.to_json(path, orient="records", lines=True)
    elif name.endswith("sv"):
        # With its index, a column without a name.
        frame.to_csv(path, sep="\t" if name == "a.tsv" else ",")
    else:
        getattr(frame, f"to_{name[2:]}")(path)
    assert found([path]) == PAIRS
