"""The layout of merged files follows from the tensors alone, and any reader can read it."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vox_populi.containers.safetensors_header import read_header
from vox_populi.hf.keymap import TensorKey
from vox_populi.merge import shard_writer
from vox_populi.merge.full_graph import LowRankUpdate, MergedTensor
from vox_populi.merge.shard_writer import PlacedTensor, index_json, plan_shards, write_shard


def make_tensors(folder: Path) -> tuple[list[PlacedTensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    stored = {
        "one.weight": torch.randn(6, 5, generator=generator).bfloat16(),
        "norm.weight": torch.randn(5, generator=generator),
        "two.weight": torch.randn(4, 5, generator=generator).bfloat16(),
    }
    folder.mkdir(exist_ok=True)
    save_file(stored, folder / "base.safetensors")
    header = read_header(folder / "base.safetensors")
    a = torch.randn(2, 5, generator=generator)
    b = torch.randn(4, 2, generator=generator)
    updates = {"two.weight": LowRankUpdate(a, b, 0.5, is_transposed=False)}
    tensors = []
    for name in stored:
        info = header.tensors[name]
        key = TensorKey(name, name, info.shape, transposed=False, required=True)
        tensors.append(PlacedTensor.of(name, MergedTensor(key, info, updates.get(name))))
    expected = dict(stored)
    expected["two.weight"] = (stored["two.weight"].float() + 0.5 * b @ a).bfloat16()
    return tensors, expected


@pytest.mark.parametrize(("limit", "files"), [(10**9, 1), (80, 2), (1, 3)])
def test_merge_files_hold_every_tensor_once(tmp_path: Path, limit: int, files: int) -> None:
    tensors, expected = make_tensors(tmp_path)
    output = tmp_path / "out"
    output.mkdir()
    shards = plan_shards(tensors, limit)
    written = [write_shard(shard, tmp_path, output) for shard in shards]
    changes = [change for each in written for change in each.changes]

    for each in written:
        assert each.digest == hashlib.sha256(each.path.read_bytes()).hexdigest()
    assert len(shards) == files == len(list(output.iterdir()))
    found: dict[str, torch.Tensor] = {}
    for shard in shards:
        found |= load_file(output / shard.file)
        assert read_header(output / shard.file).metadata == {"format": "pt"}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert [change.name for change in changes] == ["two.weight"]
    index = index_json(shards)
    if files == 1:
        assert index is None
    else:
        assert index is not None
        sizes = sum(t.numel() * t.element_size() for t in expected.values())
        assert index["metadata"] == {"total_size": sizes}
        weight_map = index["weight_map"]
        assert isinstance(weight_map, dict)
        assert set(weight_map) == set(expected)
        assert set(weight_map.values()) == {path.name for path in output.iterdir()}


def test_merge_aligns_wider_numbers_first(tmp_path: Path) -> None:
    tensors, _ = make_tensors(tmp_path)
    (shard,) = plan_shards(tensors, 10**9)
    (length,) = struct.unpack("<Q", shard.preamble[:8])
    entries = json.loads(shard.preamble[8 : 8 + length])
    del entries["__metadata__"]
    assert next(iter(entries)) == "norm.weight"
    assert len(shard.preamble) % 8 == 0


def test_merge_blocks_hold_the_same_rows_however_they_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors, _ = make_tensors(tmp_path)
    (shard,) = plan_shards(tensors, 10**9)
    digests = set()
    for number, (values, size) in enumerate(((1 << 20, 1 << 20), (5, 7))):
        monkeypatch.setattr(shard_writer, "BLOCK_VALUES", values)
        monkeypatch.setattr(shard_writer, "_COPY_BYTES", size)
        folder = tmp_path / f"out-{number}"
        folder.mkdir()
        digests.add(write_shard(shard, tmp_path, folder).digest)
    assert len(digests) == 1
