from __future__ import annotations

import gzip
import json
import os
import random
import stat
import sys
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from vox_populi.data.control_text import ControlText
from vox_populi.data.data_report import DropReason
from vox_populi.data.dataset import (
    DatasetOptions,
    OnBadRow,
    OnLongRow,
    RowCache,
    RowDataset,
    open_dataset,
)
from vox_populi.data.row_cache import rows_on_disk
from vox_populi.data.row_cache.cache_place import entries, tidy
from vox_populi.data.row_cache.entry import BLOCK_BYTES, RECORD
from vox_populi.data.row_files.open_rows import open_rows
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.errors import DataError, EnvironmentFailure
from vox_populi.files.folder_lock import FolderLock
from vox_populi.plan.row_worker import MODULE
from vox_tensor.tokenizer import VoxTokenizer

VOX = VoxTokenizer()
SKIP = DatasetOptions(on_bad_row=OnBadRow.SKIP, on_long_row=OnLongRow.SKIP, seq_len=60)
BAD_LINES = ("{", '{"prompt": 1, "response": "x"}', '["x"]', '{"prompt": "p"}', "\n\n", "\udcff")


@pytest.fixture
def ragged(tmp_path: Path) -> Path:
    """Rows of many lengths and weights, with bad lines of every kind between them."""
    draw = random.Random(7)
    lines: list[str] = []
    for i in range(400):
        row = {"prompt": f"p{i} " * draw.randrange(1, 9), "response": "é" * draw.randrange(1, 9)}
        extra = {"weight": 0.1 * (i % 7 + 1), "rating": i % 7, "category": f"c{i % 3}"}
        lines.append(json.dumps(row | extra, ensure_ascii=False))
        if draw.random() < 0.2:
            lines.append(draw.choice(BAD_LINES))
    path = tmp_path / "rows.jsonl"
    path.write_bytes("\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"))
    return path


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.jsonl"
    rows = ({"prompt": f"p{i}", "response": f"r{i}" * (i % 5 + 1)} for i in range(50))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def cache(tmp_path: Path) -> RowCache:
    return RowCache(folder=tmp_path / "cache", workers=1, module=MODULE, least_bytes=0)


def opened(
    path: Path, cache: RowCache | None = None, options: DatasetOptions | None = None
) -> RowDataset:
    return open_dataset(open_rows(path), VOX, TextPolicy(), options or DatasetOptions(), cache)


def content(rows: RowDataset) -> tuple[object, ...]:
    return list(rows), list(rows.lengths), rows.report, rows.n_tokens, rows.n_supervised


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_number_of_processes_gives_what_one_scan_gives(
    ragged: Path, cache: RowCache, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_on_disk, "_PART_BYTES", 4000)
    many = replace(cache, workers=workers)
    expected = opened(ragged, options=SKIP)
    assert 100 < len(expected) < 400
    assert expected.report.dropped[DropReason.BAD_ROW] > 20
    assert expected.report.dropped[DropReason.TOO_LONG] > 20
    made = opened(ragged, many, SKIP)
    assert content(made) == content(expected)
    assert made.select([5, 2, -1])[2] == expected[-1]
    assert made.record(3) == expected.record(3)
    read_back = opened(ragged, many, SKIP)
    assert content(read_back) == content(expected)
    assert (len(made.notes), read_back.notes) == (1, ())


@pytest.mark.any_install
@pytest.mark.parametrize("workers", [1, 3])
def test_bad_rows_are_reported_as_one_scan_reports_them(
    ragged: Path, cache: RowCache, workers: int
) -> None:
    def problems(use: RowCache | None) -> tuple[object, ...]:
        with pytest.raises(DataError) as caught:
            opened(ragged, use)
        return caught.value.problems

    assert problems(replace(cache, workers=workers)) == problems(None)
    assert list(cache.folder.iterdir()) == []


def test_a_second_start_encodes_nothing(
    good: Path, cache: RowCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = content(opened(good, cache))
    monkeypatch.setattr(VoxTokenizer, "encode", None)
    assert content(opened(good, cache)) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"policy": TextPolicy(system_prompt="Be brief.")},
        {"policy": TextPolicy(template=ChatTemplate.PLAIN)},
        {"policy": TextPolicy(on_control_text=ControlText.SKIP)},
        {"options": DatasetOptions(seq_len=40)},
        {"tokenizer": VoxTokenizer([(b"p", b"1")])},
        {"more": '{"prompt": "more", "response": "rows"}\n'},
    ],
)
def test_another_content_tokenizer_or_policy_is_another_entry(
    good: Path, cache: RowCache, change: dict[str, Any]
) -> None:
    opened(good, cache)
    with good.open("a", encoding="utf-8") as file:
        file.write(change.pop("more", ""))
    arguments = {"tokenizer": VOX, "policy": TextPolicy(), "options": DatasetOptions(), **change}
    rows = open_rows(good)
    assert list(open_dataset(rows, **arguments, cache=cache)) == list(
        open_dataset(rows, **arguments)
    )
    assert len(entries(cache.folder)) == 2


def test_the_same_content_under_another_name_is_the_same_entry(
    ragged: Path, cache: RowCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(ragged, cache, SKIP)
    moved = ragged.rename(ragged.with_name("moved.jsonl"))
    expected = opened(moved, None, SKIP).report
    monkeypatch.setattr(VoxTokenizer, "encode", None)
    assert opened(moved, cache, SKIP).report == expected


@pytest.mark.any_install
@pytest.mark.parametrize("workers", [1, 2])
def test_rows_of_another_format_are_kept_alike(
    ragged: Path, cache: RowCache, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = ragged.with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(ragged.read_bytes()))
    expected = content(opened(packed, options=SKIP))
    assert content(opened(packed, replace(cache, workers=workers), SKIP)) == expected
    monkeypatch.setattr("vox_populi.data.row_files.open_rows.copy_to_spool", None)
    assert content(opened(packed, cache, SKIP)) == expected, "nothing is unpacked"


def test_small_files_are_not_kept(good: Path, cache: RowCache) -> None:
    opened(good, replace(cache, least_bytes=good.stat().st_size + 1))
    assert not cache.folder.exists()


def damage(path: Path, kind: str) -> None:
    data = bytearray(path.read_bytes())
    if kind == "flipped":
        data[len(data) // 2] ^= 4
    elif kind == "cut":
        del data[-1:]
    else:
        data[:] = bytes(len(data))
    path.write_bytes(data)


FILES = ("entry.json", "ends.u64", "indices.u32", "weights.f64", "tokens.sums", "tokens.bin")


@pytest.mark.parametrize("kind", ["flipped", "cut", "zeroed"])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_entry_is_never_believed(
    good: Path, cache: RowCache, name: str, kind: str
) -> None:
    expected = content(opened(good))
    opened(good, cache)
    [entry] = entries(cache.folder)
    damage(entry / name, kind)
    assert content(opened(good, cache)) == expected
    # Damaged tokens are noticed when a row is read, and the entry written at the next start.
    assert content(opened(good, cache)) == expected
    assert content(opened(good, cache)) == expected
    assert opened(good, cache).notes == ()
    assert entries(cache.folder) == [entry]


def test_a_missing_file_of_an_entry_is_noticed(good: Path, cache: RowCache) -> None:
    expected = content(opened(good, cache))
    [entry] = entries(cache.folder)
    for path in sorted(entry.iterdir()):
        path.unlink()
        assert content(opened(good, cache)) == expected


def test_damage_in_one_block_leaves_the_others(tmp_path: Path, cache: RowCache) -> None:
    path = tmp_path / "long.jsonl"
    rows = [{"prompt": "p", "response": f"{i} " * 9000} for i in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    expected = list(opened(path))
    opened(path, cache)
    [entry] = entries(cache.folder)
    assert (entry / "tokens.bin").stat().st_size > 2 * BLOCK_BYTES
    damage(entry / "tokens.bin", "flipped")
    assert list(opened(path, cache)) == expected


def test_entries_are_private(good: Path, cache: RowCache) -> None:
    opened(good, cache)
    [entry] = entries(cache.folder)
    for folder in (cache.folder, entry):
        assert sys.platform == "win32" or stat.S_IMODE(folder.stat().st_mode) == 0o700
    held = b"".join(path.read_bytes() for path in entry.iterdir())
    assert b"system" not in held


def test_a_folder_that_cannot_be_written_is_one_note(good: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    cache = RowCache(folder=tmp_path / "file", workers=1, module=MODULE, least_bytes=0)
    rows = opened(good, cache)
    assert len(rows.notes) == 1
    assert content(rows) == content(opened(good))


def test_a_full_disk_is_one_note(
    good: Path, cache: RowCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vox_populi.data.row_cache.part_files.EntryWriter.add_tokens", full)
    rows = opened(good, cache)
    assert "No space left" in rows.notes[0]
    assert content(rows) == content(opened(good))
    assert list(cache.folder.iterdir()) == []


def test_who_comes_second_waits_and_reads(
    good: Path, cache: RowCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(good, cache)
    [entry] = entries(cache.folder)
    whole = {path.name: path.read_bytes() for path in entry.iterdir()}
    (entry / RECORD).unlink()
    staging = cache.folder / f".{entry.name}.merging"
    staging.mkdir()
    lock = FolderLock.acquire(staging)
    found: list[RowDataset] = []
    monkeypatch.setattr(VoxTokenizer, "encode", None)
    second = Thread(target=lambda: found.append(opened(good, cache)))
    second.start()
    (entry / RECORD).write_bytes(whole[RECORD])
    lock.release()
    second.join()
    assert len(found[0]) == 50


def test_what_killed_processes_left_is_removed(good: Path, cache: RowCache) -> None:
    opened(good, cache)
    [entry] = entries(cache.folder)
    left = cache.folder / ".rows-abc.merging"
    left.mkdir()
    (left / "tokens.bin").write_bytes(b"x")
    busy = cache.folder / ".rows-def.merging"
    busy.mkdir()
    lock = FolderLock.acquire(busy)
    (cache.folder / "mine").mkdir()
    tidy(cache.folder)
    assert sorted(cache.folder.iterdir()) == sorted([busy, cache.folder / "mine", entry])
    lock.release()


def test_the_least_recently_used_entry_goes_first(good: Path, cache: RowCache) -> None:
    opened(good, cache)
    [older] = entries(cache.folder)
    opened(good, cache, DatasetOptions(seq_len=40))
    [newer] = [each for each in entries(cache.folder) if each != older]
    os.utime(older, (1, 1))
    tidy(cache.folder, most_bytes=1 + sum(p.stat().st_size for p in newer.iterdir()))
    assert entries(cache.folder) == [newer]


def test_a_process_that_ends_early_is_one_problem(good: Path, cache: RowCache) -> None:
    with pytest.raises(EnvironmentFailure) as caught:
        opened(good, replace(cache, workers=2, module="abc"))
    assert [problem.code for problem in caught.value.problems] == ["MENS-E043"]
    assert list(cache.folder.iterdir()) == []
