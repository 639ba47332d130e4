"""Quantised bases that are kept: found again, proved, made again when damaged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vox_populi.errors import EnvironmentFailure
from vox_populi.files.folder_lock import LOCK_NAME, FolderLock
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.model.nf4_load import quantize_stored
from vox_populi.pipeline.quantize import QuantizeRequest
from vox_populi.pipeline.quantize_run import quantize
from vox_populi.quantize.nf4_cache import CACHE_MANIFEST, cache_entry_name, cached_base
from vox_tensor.nf4_levels import Nf4Settings

BASE = embedded_model_dir()
DIGEST = "sha256:" + "a" * 64


@pytest.fixture
def base() -> ModelInventory:
    return read_inventory(BASE)


@pytest.fixture
def settings() -> Nf4Settings:
    return Nf4Settings()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def entries(cache: Path) -> list[Path]:
    return sorted(cache.iterdir()) if cache.exists() else []


def test_a_quantised_base_is_cached_once_and_reused(
    base: ModelInventory, settings: Nf4Settings, cache: Path
) -> None:
    first = cached_base(base, settings, cache, DIGEST)
    (entry,) = entries(cache)
    assert entry.name == cache_entry_name(settings, DIGEST)
    assert "kept it" in first.notes[0]
    stamps = {path.name: path.stat().st_mtime_ns for path in entry.iterdir()}
    second = cached_base(base, settings, cache, DIGEST)
    assert "checksums verified" in second.notes[0]
    assert stamps == {path.name: path.stat().st_mtime_ns for path in entry.iterdir()}
    for found in (first, second):
        assert found.inventory.model_dir == entry
        for key in base.quantized_keys():
            mine, kept = (quantize_stored(i, key, settings) for i in (base, found.inventory))
            assert torch.equal(mine.codes, kept.codes)
            assert torch.equal(mine.absmax_B(), kept.absmax_B())


def test_other_bases_and_settings_have_entries_of_their_own(
    base: ModelInventory, settings: Nf4Settings, cache: Path
) -> None:
    for each in (settings, replace(settings, double_quant=False), replace(settings, block_size=32)):
        found = cached_base(base, each, cache, DIGEST)
        weight = next(iter(found.inventory.nf4.values()))
        assert weight.settings == each
    cached_base(base, settings, cache, "sha256:" + "b" * 64)
    assert len(entries(cache)) == 4


def damage_bytes(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", CACHE_MANIFEST])
@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
def test_a_damaged_cache_entry_is_detected_and_rebuilt(
    base: ModelInventory, settings: Nf4Settings, cache: Path, name: str, how: str
) -> None:
    cached_base(base, settings, cache, DIGEST)
    (entry,) = entries(cache)
    good = {path.name: path.read_bytes() for path in entry.iterdir()}
    if how == "changed":
        damage_bytes(entry / name)
    elif how == "cut":
        (entry / name).write_bytes(good[name][:-1])
    else:
        (entry / name).unlink()
    found = cached_base(base, settings, cache, DIGEST)
    if (name, how) == (CACHE_MANIFEST, "cut"):
        assert "checksums verified" in found.notes[0], "only its last newline is gone"
        return
    assert "damaged" in found.notes[0]
    assert entries(cache) == [entry], "what was damaged is gone"
    assert {path.name: path.read_bytes() for path in entry.iterdir()} == good
    assert "checksums verified" in cached_base(base, settings, cache, DIGEST).notes[0]


def test_an_entry_that_speaks_of_another_base_is_not_used(
    base: ModelInventory, settings: Nf4Settings, cache: Path
) -> None:
    cached_base(base, settings, cache, DIGEST)
    (entry,) = entries(cache)
    other = "sha256:" + "c" * 64
    entry.rename(entry.with_name(cache_entry_name(settings, other)))
    assert "damaged" in cached_base(base, settings, cache, other).notes[0]


def test_an_entry_whose_manifest_leaves_a_file_out_is_not_used(
    base: ModelInventory, settings: Nf4Settings, cache: Path
) -> None:
    cached_base(base, settings, cache, DIGEST)
    (entry,) = entries(cache)
    manifest = json.loads((entry / CACHE_MANIFEST).read_bytes())
    assert len(manifest["files"]) == 2
    manifest["files"] = {}
    (entry / CACHE_MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
    assert "does not list" in cached_base(base, settings, cache, DIGEST).notes[0]


def test_a_second_run_does_without_a_cache_that_is_being_written(
    base: ModelInventory, settings: Nf4Settings, cache: Path
) -> None:
    staging = cache / f".{cache_entry_name(settings, DIGEST)}.merging"
    staging.mkdir(parents=True)
    lock = FolderLock.acquire(staging)
    found = cached_base(base, settings, cache, DIGEST)
    assert found.inventory is base
    assert "Another process" in found.notes[0]
    lock.release()
    assert cached_base(base, settings, cache, DIGEST).inventory is not base


def test_a_cache_entry_left_by_a_killed_run_is_rebuilt(
    base: ModelInventory, settings: Nf4Settings, cache: Path
) -> None:
    staging = cache / f".{cache_entry_name(settings, DIGEST)}.merging"
    staging.mkdir(parents=True)
    (staging / LOCK_NAME).write_bytes(b"process 1 on x")
    (staging / "model.safetensors").write_bytes(b"half")
    found = cached_base(base, settings, cache, DIGEST)
    assert found.inventory.model_dir.name == cache_entry_name(settings, DIGEST)
    assert len(entries(cache)) == 1


def test_a_note_says_if_the_cache_has_no_effect(
    base: ModelInventory, settings: Nf4Settings, cache: Path, tmp_path: Path
) -> None:
    assert cached_base(base, settings, None, DIGEST).notes == ()
    quantize(QuantizeRequest(model_dir=BASE, output=tmp_path / "out"))
    packed = read_inventory(tmp_path / "out", allow_nf4=True)
    found = cached_base(packed, settings, cache, DIGEST)
    assert found.inventory is packed
    assert found.notes == ()
    partial = replace(base, missing=("model.norm.weight",))
    assert "no effect" in cached_base(partial, settings, cache, DIGEST).notes[0]
    assert entries(cache) == []


def test_a_cache_folder_that_is_a_file_is_refused(base: ModelInventory, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(EnvironmentFailure):
        cached_base(base, Nf4Settings(), tmp_path / "file", DIGEST)


def test_a_damaged_entry_loses_the_files_of_the_cache_and_nothing_else(
    base: ModelInventory, settings: Nf4Settings, cache: Path
) -> None:
    cached_base(base, settings, cache, DIGEST)
    (entry,) = entries(cache)
    (entry / "notes").mkdir()
    (entry / "notes" / "mine").write_bytes(b"keep")
    (entry / "config.json").write_bytes(b"{}")
    found = cached_base(base, settings, cache, DIGEST)
    assert any("kept in" in note for note in found.notes)
    rest = entry.with_name(f"{entry.name}.old-1")
    assert [path.name for path in rest.iterdir()] == ["notes"]
    assert (rest / "notes" / "mine").read_bytes() == b"keep"
