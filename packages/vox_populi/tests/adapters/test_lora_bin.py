"""Adapter files: same adapter same bytes, readable by the plain library, damage refused."""

from __future__ import annotations

import json
import pickle  # noqa: TID251 - the hostile file is made here
import random
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vox_populi.adapters.header import AdapterHeader
from vox_populi.adapters.lora_bin import read_adapter_bin, write_adapter_bin
from vox_populi.errors import ArtifactError, EnvironmentFailure


@pytest.fixture
def tensors(header: AdapterHeader) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator)
        for name, shape in header.tensor_shapes().items()
    }


@pytest.fixture
def written(tmp_path: Path, header: AdapterHeader, tensors: dict[str, Tensor]) -> Path:
    path = tmp_path / "model_final.bin"
    write_adapter_bin(path, header, tensors)
    return path


def test_adapter_survives_the_round_trip(
    written: Path, header: AdapterHeader, tensors: dict[str, Tensor]
) -> None:
    read = read_adapter_bin(written)
    assert read.header == header
    assert read.tensors.keys() == tensors.keys()
    assert all(torch.equal(read.tensors[name], tensors[name]) for name in tensors)


def test_the_plain_library_reads_it_too(
    written: Path, header: AdapterHeader, tensors: dict[str, Tensor]
) -> None:
    loaded = load_file(written)
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    with safe_open(written, framework="pt") as file:
        metadata = file.metadata()
    digest = metadata.pop("digest")
    assert metadata == {"format": "vox_mens_lora_bin", "version": "1", "header": header.to_json()}
    assert digest.startswith("sha256:")


def test_same_adapter_same_bytes_whatever_the_order(
    tmp_path: Path, written: Path, header: AdapterHeader, tensors: dict[str, Tensor]
) -> None:
    other = tmp_path / "other.bin"
    write_adapter_bin(other, header, dict(reversed(tensors.items())))
    assert other.read_bytes() == written.read_bytes()
    tensors["lm_head.lora_A"] = tensors["lm_head.lora_A"] + 1
    write_adapter_bin(other, header, tensors)
    assert other.read_bytes() != written.read_bytes()


def test_views_are_written_as_what_they_show(
    tmp_path: Path, header: AdapterHeader, tensors: dict[str, Tensor]
) -> None:
    turned = tensors["lm_head.lora_A"].t().contiguous().t()
    path = tmp_path / "view.bin"
    write_adapter_bin(path, header, {**tensors, "lm_head.lora_A": turned})
    assert not turned.is_contiguous()
    assert torch.equal(read_adapter_bin(path).tensors["lm_head.lora_A"], turned)


def test_only_what_the_header_describes_is_written(
    tmp_path: Path, header: AdapterHeader, tensors: dict[str, Tensor]
) -> None:
    wrong = [
        {name: tensor for name, tensor in tensors.items() if name != "lm_head.lora_A"},
        {**tensors, "lm_head.lora_A": tensors["lm_head.lora_A"].t()},
        {name: tensor.double() for name, tensor in tensors.items()},
    ]
    for attempt in wrong:
        with pytest.raises(ValueError, match=r"header and tensors|float32"):
            write_adapter_bin(tmp_path / "no.bin", header, attempt)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_nothing(
    tmp_path: Path, header: AdapterHeader, tensors: dict[str, Tensor]
) -> None:
    with pytest.raises(EnvironmentFailure, match="MENS-E005"):
        write_adapter_bin(tmp_path / "absent" / "x.bin", header, tensors)
    assert list(tmp_path.iterdir()) == []


class Bomb:
    """Unpickling it would call `exit`."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return (exit, (99,))


def write_pickle(path: Path, protocol: int) -> None:
    path.write_bytes(pickle.dumps({"state": Bomb()}, protocol=protocol))


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_named_bin_is_named_and_not_opened(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "pytorch_model.bin"
    write_pickle(path, protocol)
    with pytest.raises(ArtifactError, match=r"MENS-A001.*a pickle.*save_file"):
        read_adapter_bin(path)


@pytest.mark.parametrize("protocol", [0, 1])
def test_pickles_without_a_signature_are_refused_as_well(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "old.bin"
    write_pickle(path, protocol)
    with pytest.raises(ArtifactError, match="MENS-A001"):
        read_adapter_bin(path)


def test_a_zip_named_bin_is_named_and_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    write_zip(path)
    with pytest.raises(ArtifactError, match=r"MENS-A001.*zip"):
        read_adapter_bin(path)


def rewrite(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    """Change the container's header and keep its data."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def set_metadata(**entries: str | None) -> Callable[[dict[str, object]], None]:
    def change(header: dict[str, object]) -> None:
        metadata = header["__metadata__"]
        assert isinstance(metadata, dict)
        metadata.update({key: value for key, value in entries.items() if value is not None})
        for key, value in entries.items():
            if value is None:
                del metadata[key]

    return change


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (set_metadata(format="vox_mens_lora"), "MENS-A003"),
        (set_metadata(format=None), "MENS-A003"),
        (set_metadata(header=None), "MENS-A003"),
        (set_metadata(version="4"), "MENS-A004"),
        (set_metadata(version="3"), "MENS-A005"),
        (set_metadata(version=None), "MENS-A004"),
        (set_metadata(header="{}"), "MENS-A005"),
        (set_metadata(header="nonsense"), "MENS-A005"),
    ],
)
def test_foreign_and_newer_files_are_refused(
    written: Path, change: Callable[[dict[str, object]], None], code: str
) -> None:
    rewrite(written, change)
    with pytest.raises(ArtifactError, match=code):
        read_adapter_bin(written)


def test_all_tensor_problems_come_at_once(
    written: Path, header: AdapterHeader, tensors: dict[str, Tensor]
) -> None:
    held = {
        "lm_head.lora_A": torch.zeros(2, 5),
        "lm_head.lora_B": tensors["lm_head.lora_B"].half(),
        "blocks.0.attn.qkv.lora_A": tensors["blocks.0.attn.qkv.lora_A"],
        "extra": torch.zeros(1),
    }
    metadata = {"format": "vox_mens_lora_bin", "version": "1", "header": header.to_json()}
    save_file(held, written, metadata)
    with pytest.raises(ArtifactError) as caught:
        read_adapter_bin(written)
    codes = sorted(problem.code for problem in caught.value.problems)
    assert codes == ["MENS-A006", "MENS-A007", "MENS-A008", "MENS-A009"]
    assert all(problem.where == str(written) for problem in caught.value.problems)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused(
    written: Path, header: AdapterHeader, tensors: dict[str, Tensor], value: float
) -> None:
    tensors["lm_head.lora_B"][3, 1] = value
    write_adapter_bin(written, header, tensors)
    with pytest.raises(ArtifactError, match=r"MENS-A010.*lm_head\.lora_B"):
        read_adapter_bin(written)


def test_any_flipped_bit_is_noticed(
    written: Path, header: AdapterHeader, tensors: dict[str, Tensor]
) -> None:
    data = written.read_bytes()
    draw = random.Random(0)
    for _ in range(300):
        place, bit = draw.randrange(len(data)), 1 << draw.randrange(8)
        written.write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
        with pytest.raises(ArtifactError):
            read_adapter_bin(written)
    written.write_bytes(data)
    assert read_adapter_bin(written).header == header


def test_tensors_that_were_exchanged_are_noticed(
    written: Path, header: AdapterHeader, tensors: dict[str, Tensor]
) -> None:
    with safe_open(written, framework="pt") as file:
        metadata = file.metadata()
    save_file(tensors, written, metadata)
    assert read_adapter_bin(written).header == header, "another layout is the same adapter"
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, written, metadata)
    with pytest.raises(ArtifactError, match="MENS-A015"):
        read_adapter_bin(written)


def test_a_truncated_file_is_refused_at_every_length(written: Path) -> None:
    data = written.read_bytes()
    for length in range(0, len(data), 37):
        written.write_bytes(data[:length])
        with pytest.raises(ArtifactError):
            read_adapter_bin(written)
    written.write_bytes(data)
    assert read_adapter_bin(written).header.step


def test_an_adapter_that_starts_like_a_pickle_is_read(
    tmp_path: Path, header: AdapterHeader, tensors: dict[str, Tensor]
) -> None:
    """A header of 0x10280 bytes gives the file the first bytes of a pickle of protocol 2."""
    path = tmp_path / "x.bin"
    write_adapter_bin(path, header, tensors)
    (length,) = struct.unpack_from("<Q", path.read_bytes())
    padding = "x" * (0x10280 - length + len(header.base_name.encode()))
    write_adapter_bin(path, replace(header, base_name=padding), tensors)
    assert path.read_bytes().startswith(b"\x80\x02")
    assert read_adapter_bin(path).header.base_name == padding


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_a_missing_adapter_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model_final.bin"
    if kind == "folder":
        path.mkdir()
    with pytest.raises(ArtifactError, match=r"MENS-A001"):
        read_adapter_bin(path)
