"""The header of merged models: what it says is checked against what the file holds."""

from __future__ import annotations

import json
import struct
from array import array
from pathlib import Path

import pytest

from vox_populi.adapters.header import AdapterHeader
from vox_populi.errors import ArtifactError
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import parse_model_config
from vox_populi.merge.merged_file import merged_metadata, read_merged_file, sign_merged_file

CONFIG = {"model_type": "gpt2", "vocab_size": 11, "n_embd": 4, "n_layer": 1, "n_head": 2}


def write(path: Path, metadata: dict[str, str], leave_out: str = "") -> None:
    entries: dict[str, object] = {"__metadata__": metadata}
    data = array("f")
    for key in tensor_keys(parse_model_config(CONFIG, "test")):
        if key.ours in (leave_out, "lm_head.weight"):
            continue
        start, count = 4 * len(data), 1
        for size in key.shape:
            count *= size
        data.extend(float(i) for i in range(count))
        offsets = [start, 4 * len(data)]
        entries[key.ours] = {"dtype": "F32", "shape": list(key.shape), "data_offsets": offsets}
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data.tobytes())


@pytest.fixture
def merged(tmp_path: Path, header: AdapterHeader) -> Path:
    path = tmp_path / "model_merged.bin"
    write(path, merged_metadata(CONFIG, header))
    sign_merged_file(path)
    return path


def test_merge_file_is_read_like_a_model_folder(merged: Path, header: AdapterHeader) -> None:
    found = read_merged_file(merged)
    assert found.adapter == header
    assert found.config == CONFIG
    inventory = found.inventory
    assert inventory.tied_head
    assert inventory.shards == ("model_merged.bin",)
    name = "transformer.h.0.attn.c_attn.weight"
    assert inventory.tensors[name].name == "blocks.0.attn.qkv.weight"
    assert inventory.tensors[name].shape == (4, 12)


def test_merge_file_that_was_changed_is_refused(merged: Path) -> None:
    data = bytearray(merged.read_bytes())
    data[-1] ^= 1
    merged.write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="MENS-A050"):
        read_merged_file(merged)
    assert read_merged_file(merged, verify=False).path == merged


def test_merge_file_that_was_never_finished_is_refused(
    tmp_path: Path, header: AdapterHeader
) -> None:
    path = tmp_path / "model_merged.bin"
    write(path, merged_metadata(CONFIG, header))
    with pytest.raises(ArtifactError, match="MENS-A050"):
        read_merged_file(path)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"format": "pt"}, "MENS-A048"),
        ({"version": "9"}, "MENS-A049"),
        ({"header": "{}"}, "MENS-A048"),
        ({"header": "nonsense"}, "MENS-A048"),
    ],
)
def test_merge_file_with_a_strange_header_is_refused(
    tmp_path: Path, header: AdapterHeader, changes: dict[str, str], code: str
) -> None:
    path = tmp_path / "model_merged.bin"
    write(path, {**merged_metadata(CONFIG, header), **changes})
    with pytest.raises(ArtifactError, match=code):
        read_merged_file(path)


def test_merge_file_in_another_orientation_is_refused(
    tmp_path: Path, header: AdapterHeader
) -> None:
    metadata = merged_metadata(CONFIG, header)
    raw = json.loads(metadata["header"])
    raw["stored_transposed"] = []
    path = tmp_path / "model_merged.bin"
    write(path, {**metadata, "header": json.dumps(raw)})
    with pytest.raises(ArtifactError, match=r"MENS-A048.*stored_transposed"):
        read_merged_file(path)


def test_merge_file_without_a_tensor_is_refused(tmp_path: Path, header: AdapterHeader) -> None:
    path = tmp_path / "model_merged.bin"
    write(path, merged_metadata(CONFIG, header), leave_out="blocks.0.mlp.up.bias")
    with pytest.raises(ArtifactError, match=r"MENS-A048.*blocks\.0\.mlp\.up\.bias"):
        read_merged_file(path)
