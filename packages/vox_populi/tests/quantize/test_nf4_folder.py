"""A folder in bitsandbytes' layout: what is in it, to the byte, and what it loads as."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vox_populi.containers.dtypes import DTYPE_BITS
from vox_populi.containers.safetensors_header import read_header
from vox_populi.errors import (
    EnvironmentFailure,
    ModelError,
    PreflightError,
)
from vox_populi.files.file_digest import content_digest
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.model.hf_load import load_base
from vox_populi.model.nf4_load import load_nf4_base, quantize_stored
from vox_populi.pipeline.quantize import QuantizeRequest
from vox_populi.pipeline.quantize_run import quantize
from vox_populi.quantize.nf4_folder import plan_nf4_folder, write_nf4_folder
from vox_tensor.errors import VoxError
from vox_tensor.nf4 import NestedScales, Nf4Tensor
from vox_tensor.nf4_levels import Nf4Settings
from vox_tensor.nf4_weight import DensePool

BASE = embedded_model_dir()


def parts_of(weight: Nf4Tensor) -> list[Tensor]:
    scales = weight.scales
    if isinstance(scales, NestedScales):
        return [weight.codes, scales.codes_B, scales.absmax_G, scales.levels, scales.offset]
    return [weight.codes, scales]


def assert_same_packed(one: ModelInventory, other: ModelInventory, settings: Nf4Settings) -> None:
    assert one.quantized_keys() == other.quantized_keys()
    for key in one.quantized_keys():
        mine, theirs = (quantize_stored(each, key, settings) for each in (one, other))
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        assert mine.block_size == theirs.block_size
        pairs = zip(parts_of(mine), parts_of(theirs), strict=True)
        assert all(torch.equal(left, right) for left, right in pairs)


@pytest.mark.parametrize("max_shard_bytes", [5 * 10**9, 300_000])
@pytest.mark.parametrize(
    "settings", [Nf4Settings(), Nf4Settings(double_quant=False), Nf4Settings(block_size=128)]
)
def test_what_is_written_loads_as_what_would_be_quantised(
    tmp_path: Path, settings: Nf4Settings, max_shard_bytes: int
) -> None:
    request = QuantizeRequest(
        model_dir=BASE,
        output=tmp_path / "out",
        block_size=settings.block_size,
        double_quant=settings.double_quant,
        max_shard_bytes=max_shard_bytes,
    )
    report = quantize(request)
    base, written = read_inventory(BASE), read_inventory(tmp_path / "out", allow_nf4=True)
    assert_same_packed(base, written, settings)
    assert len(written.nf4) == report.packed == len(base.quantized_keys())
    assert len(written.tensors) == report.dense
    assert report.bytes_after == written.total_bytes < base.total_bytes
    assert (len(written.shards) > 1) == (max_shard_bytes < 10**9)
    assert sorted(report.files) == sorted(path.name for path in (tmp_path / "out").iterdir())
    for shard in written.shards:
        for info in read_header(tmp_path / "out" / shard).tensors.values():
            assert info.start % (DTYPE_BITS[info.dtype] // 8) == 0, "tensors start aligned"
    mine = load_nf4_base(base, torch.float32, "cpu", settings, DensePool())
    theirs = load_nf4_base(written, torch.float32, "cpu", Nf4Settings(), DensePool())
    assert all(
        torch.equal(parameter, theirs.get_parameter(name))
        for name, parameter in mine.named_parameters()
    )


def test_packed_weights_are_taken_as_they_are(tmp_path: Path) -> None:
    quantize(QuantizeRequest(model_dir=BASE, output=tmp_path / "out"))
    inventory = read_inventory(tmp_path / "out", allow_nf4=True)
    key = inventory.quantized_keys()[3]
    info = inventory.nf4[key.theirs].parts["weight"]
    path = tmp_path / "out" / info.shard
    before = quantize_stored(inventory, key, Nf4Settings())
    data = bytearray(path.read_bytes())
    data[info.start] ^= 0xFF
    path.write_bytes(data)
    after = quantize_stored(inventory, key, Nf4Settings(block_size=4096, double_quant=False))
    assert int(after.codes[0, 0]) == int(before.codes[0, 0]) ^ 0xFF
    assert torch.equal(after.codes[1:], before.codes[1:])
    assert (after.block_size, after.double_quant) == (64, True), "settings have no say here"


@pytest.mark.parametrize("part", ["nested_absmax", "nested_quant_map"])
def test_a_scale_that_is_not_finite_is_refused_by_name(tmp_path: Path, part: str) -> None:
    quantize(QuantizeRequest(model_dir=BASE, output=tmp_path / "out"))
    inventory = read_inventory(tmp_path / "out", allow_nf4=True)
    key = inventory.quantized_keys()[0]
    info = inventory.nf4[key.theirs].parts[part]
    path = tmp_path / "out" / info.shard
    data = bytearray(path.read_bytes())
    data[info.start : info.start + 4] = b"\x00\x00\xc0\x7f"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=rf"MENS-H061.*{info.name}"):
        load_nf4_base(inventory, torch.float32, "cpu", Nf4Settings(), DensePool())


def test_the_same_bytes_every_time_and_the_small_files_as_they_were(tmp_path: Path) -> None:
    for name in ("one", "two"):
        quantize(QuantizeRequest(model_dir=BASE, output=tmp_path / name))
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert "model.safetensors" in files
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    quantize(QuantizeRequest(model_dir=BASE, output=tmp_path / "other", double_quant=False))
    other = (tmp_path / "other" / "model.safetensors").read_bytes()
    assert other != (tmp_path / "one" / "model.safetensors").read_bytes()
    assert (tmp_path / "one" / "tokenizer.json").read_bytes() == (
        BASE / "tokenizer.json"
    ).read_bytes()


def test_the_config_says_what_bitsandbytes_must_know(tmp_path: Path) -> None:
    quantize(QuantizeRequest(model_dir=BASE, output=tmp_path / "out", double_quant=False))
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    entry = config.pop("quantization_config")
    assert config == json.loads((BASE / "config.json").read_text("utf-8"))
    assert (entry["quant_method"], entry["bnb_4bit_quant_type"]) == ("bitsandbytes", "nf4")
    assert (entry["load_in_4bit"], entry["bnb_4bit_use_double_quant"]) == (True, False)
    assert entry["bnb_4bit_quant_storage"] == "uint8"
    assert entry["llm_int8_skip_modules"] == ["lm_head"]


def refusal(request: QuantizeRequest) -> VoxError:
    with pytest.raises(VoxError) as caught:
        quantize(request)
    return caught.value


def test_what_cannot_be_written_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    occupied = tmp_path / "occupied"
    occupied.mkdir()
    (occupied / "mine.txt").write_text("keep", "utf-8")
    error = refusal(QuantizeRequest(model_dir=BASE, output=occupied))
    assert isinstance(error, PreflightError)
    assert [path.name for path in occupied.iterdir()] == ["mine.txt"]
    copy = tmp_path / "copy"
    shutil.copytree(BASE, copy)
    inside = refusal(QuantizeRequest(model_dir=copy, output=copy / "in"))
    assert [problem.code for problem in inside.problems] == ["MENS-A046"]
    quantize(QuantizeRequest(model_dir=copy, output=tmp_path / "out"))
    again = refusal(QuantizeRequest(model_dir=tmp_path / "out", output=tmp_path / "twice"))
    assert [problem.code for problem in again.problems] == ["MENS-H078"]
    (tmp_path / "file").write_text("", "utf-8")
    error = refusal(QuantizeRequest(model_dir=copy, output=tmp_path / "file"))
    assert isinstance(error, EnvironmentFailure)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"occupied", "copy", "out", "file"}


def test_a_disk_that_is_too_small_is_seen_before_anything_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage)
    error = refusal(QuantizeRequest(model_dir=BASE, output=tmp_path / "out"))
    assert [problem.code for problem in error.problems] == ["MENS-E030"]
    assert list(tmp_path.iterdir()) == []


def test_a_weight_that_is_not_finite_leaves_nothing(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(BASE, copy)
    info = read_inventory(copy).tensors["model.norm.weight"]
    data = bytearray((copy / info.shard).read_bytes())
    data[info.end - 2 : info.end] = b"\xc0\x7f"
    (copy / info.shard).write_bytes(data)
    error = refusal(QuantizeRequest(model_dir=copy, output=tmp_path / "out"))
    assert [problem.code for problem in error.problems] == ["MENS-H061"]
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]


def test_digests_are_those_of_the_files(tmp_path: Path) -> None:
    inventory, settings = read_inventory(BASE), Nf4Settings()
    plan = plan_nf4_folder(inventory, settings, 300_000)
    with StagedFolder.create(tmp_path / "out") as staged:
        digests = write_nf4_folder(plan, inventory, settings, staged)
        staged.publish()
    assert len(digests) > 3
    for name, digest in digests.items():
        assert content_digest(tmp_path / "out" / name) == digest
    assert load_base(inventory, torch.float32).config.is_prequantized is False
