"""Weights that stay in their files compute what weights in memory compute."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from vox_populi.hf.model_config import parse_model_config
from vox_populi.hf.safetensors_header import read_header
from vox_populi.merge import logit_check
from vox_populi.merge.logit_check import fixed_prompts
from vox_populi.merge.receipt import LOGIT_TOLERANCES, LogitCheck
from vox_populi.merge.streamed_model import StoredRows, StreamedWeight


@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize("block", [1, 12, 1000])
def test_merge_check_streams_a_linear_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_transposed: bool, block: int
) -> None:
    monkeypatch.setattr(logit_check, "BLOCK_VALUES", block)
    generator = torch.Generator().manual_seed(0)
    dense_OI = torch.randn(7, 6, generator=generator).bfloat16()
    stored = dense_OI.t().contiguous() if is_transposed else dense_OI
    save_file({"w": stored}, tmp_path / "m.safetensors")
    info = read_header(tmp_path / "m.safetensors").tensors["w"]
    weight = StreamedWeight(StoredRows(tmp_path, info), is_transposed=is_transposed)
    x, bias = torch.randn(3, 6, generator=generator), torch.randn(7, generator=generator)

    for b in (None, bias):
        found = F.linear(x, weight, b)  # type: ignore[arg-type]  # torch hands it over
        expected = F.linear(x.double(), dense_OI.double(), None if b is None else b.double())
        torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)


def test_merge_check_reads_only_the_rows_of_a_table_that_are_asked_for(tmp_path: Path) -> None:
    table = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    save_file({"w": table}, tmp_path / "m.safetensors")
    info = read_header(tmp_path / "m.safetensors").tensors["w"]
    ids = torch.tensor([8, 0, 8])
    found = F.embedding(ids, StreamedWeight(StoredRows(tmp_path, info)))  # type: ignore[arg-type]
    assert torch.equal(found, table[ids])


def test_merge_check_knows_no_other_operation(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2, 2)}, tmp_path / "m.safetensors")
    info = read_header(tmp_path / "m.safetensors").tensors["w"]
    with pytest.raises(TypeError):
        torch.matmul(torch.ones(2, 2), StreamedWeight(StoredRows(tmp_path, info)))  # type: ignore[arg-type]


def test_merge_prompts_are_fixed_and_fit_the_model() -> None:
    raw = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 4}
    config = parse_model_config({"vocab_size": 11, **raw}, "test")
    prompts = fixed_prompts(config)
    assert prompts == fixed_prompts(config)
    assert all(0 < len(ids) <= 4 for ids in prompts)
    assert all(0 <= token < 11 for ids in prompts for token in ids)
    assert len({token for ids in prompts for token in ids}) > 5


@pytest.mark.parametrize(("difference", "is_within"), [(0.0, True), (1e9, False)])
def test_merge_check_judges_by_its_row(difference: float, is_within: bool) -> None:
    row = LOGIT_TOLERANCES["F32"]
    check = LogitCheck(
        prompts=((1,),),
        method="test",
        max_difference=difference,
        mean_difference=difference,
        largest_logit=2.0,
        allowed=row.bound(2.0),
        tolerance=row,
    )
    assert check.is_within == is_within


def test_merge_check_does_not_believe_nan() -> None:
    row = LOGIT_TOLERANCES["BF16"]
    nan = float("nan")
    check = LogitCheck(
        prompts=((1,),),
        method="test",
        max_difference=nan,
        mean_difference=nan,
        largest_logit=nan,
        allowed=row.bound(nan),
        tolerance=row,
    )
    assert not check.is_within
