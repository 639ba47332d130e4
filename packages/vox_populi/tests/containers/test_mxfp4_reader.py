"""Tensors in MXFP4 read from files: blocks in one, scales in another."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

from safetensors.torch import save_file  # noqa: E402 - after the check for torch

from vox_populi.containers.mxfp4_info import Mxfp4Info  # noqa: E402
from vox_populi.containers.mxfp4_reader import expert_matrices  # noqa: E402
from vox_populi.containers.safetensors_header import read_header  # noqa: E402
from vox_populi.containers.tensor_reader import read_tensor  # noqa: E402
from vox_populi.errors import ModelError  # noqa: E402
from vox_tensor.mxfp4 import dequantize_mxfp4  # noqa: E402

EXPERTS, ROWS, PER_ROW = 3, 5, 2


def stored(folder: Path, *, last_scale: int = 120) -> Mxfp4Info:
    draws = torch.Generator().manual_seed(3)
    shape = (EXPERTS, ROWS, PER_ROW)
    blocks = torch.randint(256, (*shape, 16), generator=draws).to(torch.uint8)
    scales = torch.randint(110, 130, shape, generator=draws).to(torch.uint8)
    scales[-1, -1, -1] = last_scale
    save_file({"x_blocks": blocks}, folder / "one.safetensors")
    save_file({"x_scales": scales}, folder / "other.safetensors")
    infos = [read_header(folder / f"{name}.safetensors").tensors for name in ("one", "other")]
    return Mxfp4Info.of("x", infos[0]["x_blocks"], infos[1]["x_scales"])


def test_experts_come_one_by_one_and_as_one_tensor(tmp_path: Path) -> None:
    info = stored(tmp_path)
    dense = read_tensor(tmp_path / info.shard, info)
    assert tuple(dense.shape) == info.shape == (EXPERTS, 32 * PER_ROW, ROWS)
    assert dense.is_contiguous()
    assert dense.nbytes == info.n_bytes
    matrices = list(expert_matrices(tmp_path, info))
    assert torch.equal(torch.stack(matrices), dense)
    blocks = read_tensor(tmp_path / "one.safetensors", info.blocks)
    scales = read_tensor(tmp_path / "other.safetensors", info.scales)
    assert torch.equal(dequantize_mxfp4(blocks, scales).transpose(1, 2), dense)
    assert dense.any()


def test_a_scale_that_is_nan_names_the_tensor(tmp_path: Path) -> None:
    info = stored(tmp_path, last_scale=255)
    with pytest.raises(ModelError, match=r"MENS-H255.*x_scales.* for x") as raised:
        read_tensor(tmp_path / info.shard, info)
    assert raised.value.problems[0].where == str(tmp_path / "other.safetensors")
