"""Tensors read from a file, held against the format's own library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

from safetensors import torch as safetensors  # noqa: E402 - torch may be absent

from vox_populi.containers.safetensors_header import read_header  # noqa: E402 - torch may be absent
from vox_populi.containers.tensor_reader import (  # noqa: E402 - torch may be absent
    is_finite,
    not_finite,
    read_rows,
    read_tensor,
    read_tensors,
)
from vox_populi.containers.torch_dtypes import TORCH_DTYPE_OF  # noqa: E402 - torch may be absent
from vox_populi.errors import ModelError  # noqa: E402 - torch may be absent


def test_tensors_of_every_type_equal_those_of_the_reference_library(tmp_path: Path) -> None:
    path = tmp_path / "all.safetensors"
    numbers = torch.arange(1, 25)
    written = {name: numbers.to(dtype).view(2, 3, 4) for name, dtype in TORCH_DTYPE_OF.items()}
    written |= {"scalar": torch.tensor(0.5), "empty": torch.empty(0, 3)}
    safetensors.save_file(written, path)
    theirs = safetensors.load_file(path)
    ours = read_tensors(path, read_header(path).tensors)
    assert ours.keys() == theirs.keys() == written.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == theirs[name].dtype
        assert tensor.shape == theirs[name].shape
        assert (
            tensor.contiguous()
            .view(-1)
            .view(torch.uint8)
            .equal(theirs[name].contiguous().view(-1).view(torch.uint8))
        )
    assert ours["F32"].sum().item() == sum(range(1, 25))


def test_a_tensor_does_not_change_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    safetensors.save_file({"a": torch.ones(4)}, path)
    info = read_header(path).tensors["a"]
    tensor = read_tensor(path, info)
    with path.open("r+b") as file:
        file.seek(info.start)
        file.write(bytes(info.n_bytes))
    assert tensor.equal(torch.ones(4))
    assert read_tensor(path, info).equal(torch.zeros(4))


def test_rows_of_a_matrix_and_zeros_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    whole = torch.randn(5, 3).bfloat16()
    safetensors.save_file({"a": torch.ones(2), "b": whole}, path)
    info = read_header(path).tensors["b"]
    assert read_rows(path, info, 2, 2).equal(whole[2:4])
    assert read_rows(path, info, 4, 2).equal(torch.cat([whole[4:], torch.zeros(1, 3)]).bfloat16())
    assert read_rows(path, info, 6, 2).equal(torch.zeros(2, 3).bfloat16())


def test_a_type_that_torch_lacks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    text = b'{"odd":{"dtype":"F4","shape":[2],"data_offsets":[0,1]}}'
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0")
    with pytest.raises(ModelError, match=r"MENS-H020.*odd.*F4"):
        read_tensors(path, read_header(path).tensors)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_one_value_that_is_not_finite_is_found(value: float, dtype: Any) -> None:
    tensor = torch.ones(100, dtype=dtype)
    assert is_finite(tensor)
    tensor[57] = value
    assert not is_finite(tensor)
    assert not_finite({"good": torch.ones(2), "bad": tensor, "empty": torch.empty(0)}) == ["bad"]
