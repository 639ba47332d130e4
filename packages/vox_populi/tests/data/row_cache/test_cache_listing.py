from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from vox_populi.data.dataset import DatasetOptions, RowCache, open_dataset
from vox_populi.data.row_cache.cache_listing import cache_entries, clear_cache
from vox_populi.data.row_cache.entry import RECORD
from vox_populi.data.row_files.open_rows import open_rows
from vox_populi.data.training_text import TextPolicy
from vox_populi.errors import EnvironmentFailure
from vox_populi.plan.row_worker import MODULE
from vox_tensor.tokenizer import VoxTokenizer


def kept(folder: Path, name: str, n_rows: int = 3) -> Path:
    """Rows of their own in the cache."""
    rows = folder / name
    line = json.dumps({"prompt": name, "response": "r"})
    rows.write_text(f"{line}\n" * n_rows, encoding="utf-8")
    cache = RowCache(folder=folder / "cache", workers=1, module=MODULE, least_bytes=0)
    open_dataset(open_rows(rows), VoxTokenizer(), TextPolicy(), DatasetOptions(), cache)
    return cache.folder


def test_entries_are_listed_with_their_data(tmp_path: Path) -> None:
    kept(tmp_path, "a.jsonl")
    folder = kept(tmp_path, "b.jsonl", 5)
    first, second = cache_entries(folder)
    assert (first.rows, first.files) == (5, (str(tmp_path / "b.jsonl"),))
    assert (second.rows, second.files) == (3, (str(tmp_path / "a.jsonl"),))
    assert first.n_bytes == sum(path.stat().st_size for path in first.path.iterdir())
    (first.path / RECORD).write_text("{", encoding="utf-8")
    damaged = next(iter(cache_entries(folder)))
    assert (damaged.rows, damaged.files) == (None, ())
    assert list(cache_entries(tmp_path / "none")) == []


def test_old_entries_can_be_removed_alone(tmp_path: Path) -> None:
    kept(tmp_path, "a.jsonl")
    folder = kept(tmp_path, "b.jsonl")
    new, old = cache_entries(folder)
    past = time.time() - 10 * 86_400
    os.utime(old.path, (past, past))
    assert clear_cache(folder, 11) == ()
    assert [each.path for each in clear_cache(folder, 9)] == [old.path]
    assert [each.path for each in cache_entries(folder)] == [new.path]
    assert [each.path for each in clear_cache(folder)] == [new.path]
    assert clear_cache(folder) == ()


def test_nothing_of_others_is_removed(tmp_path: Path) -> None:
    folder = kept(tmp_path, "a.jsonl")
    for name in ("rows-of-mine", "rows-0123", "other"):
        (folder / name).mkdir()
        (folder / name / "file").touch()
    (folder / f"rows-{'0' * 32}").symlink_to(tmp_path, target_is_directory=True)
    assert len(clear_cache(folder)) == 1
    assert sorted(path.name for path in folder.iterdir()) == [
        *("other", f"rows-{'0' * 32}", "rows-0123", "rows-of-mine")
    ]
    assert (tmp_path / "a.jsonl").exists()


def test_what_cannot_be_removed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = kept(tmp_path, "a.jsonl")

    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("vox_populi.data.row_cache.cache_listing.remove_entry", refuse)
    with pytest.raises(EnvironmentFailure, match=r"MENS-D251.*Permission denied"):
        clear_cache(folder)
