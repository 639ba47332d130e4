"""In which number type a merge is written: the first one that keeps what was trained."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from packages.vox_populi.tests.pipeline.test_merge_run import (
    content,
    make_header,
    make_tensors,
    refused,
)
from vox_populi.adapters.lora_bin import read_adapter_bin, write_adapter_bin
from vox_populi.hf.inventory import read_inventory
from vox_populi.merge import prove
from vox_populi.merge.choices import MergeFormat
from vox_populi.merge.merged_file import MERGED_FILE, read_merged_file
from vox_populi.merge.number_type import MergeDtype
from vox_populi.merge.receipt import RECEIPT_FILE, ROW_TOLERANCES, RowCheck
from vox_populi.merge.row_check import row_check
from vox_populi.pipeline import merge_run
from vox_populi.pipeline.merge import (
    MergeRequest,
)
from vox_populi.runs.check_rows import CHECK_ROWS_FILE, RowOrigin, pick_check_rows
from vox_tensor.errors import FailureKind
from vox_tensor.records import IGNORE_INDEX, EncodedRow

pytestmark = pytest.mark.requirement("10")

MakeBase = Callable[..., Path]
WIDE = 0.1
"""Spread of A and B whose product bfloat16 keeps beside weights of some hundredths."""
NARROW = 0.015
"""Rounding takes some 40 % of this update in bfloat16, and less than 10 % in float16."""


def write_rows(run: Path, digest: str = "sha256:33") -> None:
    ids = tuple(range(20, 52))
    rows = [EncodedRow(ids, (IGNORE_INDEX,) * 4 + ids[4:])]
    picked = pick_check_rows(rows, RowOrigin.HELD_OUT, digest)
    (run / CHECK_ROWS_FILE).write_text(json.dumps(picked.as_json()), encoding="utf-8")


@pytest.fixture
def base(make_base: MakeBase) -> Path:
    folder = make_base()
    path = folder / "model.safetensors"
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(path).items()}
    save_file(tensors, path, {"format": "pt"})
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config.pop("dtype", None)
    config["torch_dtype"] = "bfloat16"
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture
def make_request(base: Path, tmp_path: Path) -> Callable[[float], MergeRequest]:
    def make(spread: float) -> MergeRequest:
        header = make_header(base)
        run = tmp_path / "run"
        run.mkdir()
        write_adapter_bin(run / "model_final.bin", header, make_tensors(header, spread))
        return MergeRequest(
            checkpoint=run,
            output=tmp_path / "out" / "merged",
            model_dir=base,
            output_format=MergeFormat.HF,
            threads=1,
        )

    return make


def receipt_of(request: MergeRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((request.output / RECEIPT_FILE).read_text(encoding="utf-8"))
    return found


def types_of(folder: Path) -> set[torch.dtype]:
    return {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()}


def fail_first(monkeypatch: pytest.MonkeyPatch, count: int) -> list[RowCheck]:
    """Make the first so many checks of rows fail, whatever was written; gives all of them."""
    seen: list[RowCheck] = []

    def judge(*given: Any) -> RowCheck:
        found = row_check(*given)
        if len(seen) < count:
            found = replace(found, same=0)
        seen.append(found)
        return found

    monkeypatch.setattr(prove, "row_check", judge)
    return seen


def test_without_rows_the_update_itself_decides(
    make_request: Callable[[float], MergeRequest],
) -> None:
    request = make_request(NARROW)
    report = merge_run.merge(request)
    found = receipt_of(request)
    assert found["number_type"]["written"] == "float16"
    assert [each["number_type"] for each in found["number_type"]["tried"]] == ["bfloat16"]
    assert found["number_type"]["tried"][0]["relative_error"] > 0.25 > 0.1
    assert 0 < found["update"]["relative_error"] < 0.1
    assert found["rows"] is None
    assert any("check_rows.json" in note for note in report.notes)
    assert types_of(request.output) == {torch.float16}
    config = json.loads((request.output / "config.json").read_text(encoding="utf-8"))
    assert config["torch_dtype"] == "float16"
    assert read_inventory(request.output).config.dtype == "float16"
    assert "float16" in (request.output / "README.md").read_text(encoding="utf-8")


def test_what_the_base_type_keeps_stays_in_it(
    make_request: Callable[[float], MergeRequest], base: Path
) -> None:
    request = make_request(WIDE)
    merge_run.merge(request)
    found = receipt_of(request)
    assert found["number_type"] == {"asked": "auto", "written": "bfloat16", "tried": []}
    assert types_of(request.output) == {torch.bfloat16}
    assert content(request.output)["config.json"] == content(base)["config.json"]


@pytest.mark.parametrize(
    ("dtype", "stored"), [("bf16", torch.bfloat16), ("f16", torch.float16), ("f32", torch.float32)]
)
@pytest.mark.parametrize("form", MergeFormat)
def test_a_type_that_is_named_is_written(
    make_request: Callable[[float], MergeRequest],
    base: Path,
    dtype: str,
    stored: torch.dtype,
    form: MergeFormat,
) -> None:
    request = replace(make_request(NARROW), dtype=MergeDtype(dtype), output_format=form)
    report = merge_run.merge(request)
    if form is MergeFormat.VOX:
        path = request.output / MERGED_FILE
        assert read_merged_file(path).inventory.config.dtype == str(stored).removeprefix("torch.")
        tensors = load_file(path)
    else:
        tensors = load_file(request.output / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {stored}
    # Whoever names a type gets it, and is told what it costs.
    is_told = any("rounding to bfloat16" in note for note in report.notes)
    assert is_told == (stored is torch.bfloat16)
    # Every number is the base's, plus the update, rounded once.
    adapter = read_adapter_bin(request.checkpoint / "model_final.bin")
    expected = summed(base, adapter.tensors, adapter.header.lora.scale)
    if form is MergeFormat.HF:
        for name, sum_OI in expected.items():
            assert torch.equal(tensors[name], sum_OI.to(stored)), name


def summed(base: Path, adapter: Any, scale: float) -> dict[str, Tensor]:
    sums = {}
    for name, weight in load_file(base / "model.safetensors").items():
        layer, _, leaf = name.removeprefix("model.layers.").partition(".")
        role = {"self_attn.q_proj.weight": "attn.q", "mlp.down_proj.weight": "mlp.down"}.get(leaf)
        sums[name] = weight.float()
        if role is not None:
            ours = f"blocks.{layer}.{role}"
            delta = scale * adapter[f"{ours}.lora_B"] @ adapter[f"{ours}.lora_A"]
            sums[name] = sums[name] + delta
    return sums


def test_rows_of_the_run_are_compared(
    make_request: Callable[[float], MergeRequest],
) -> None:
    request = make_request(WIDE)
    write_rows(request.checkpoint)
    report = merge_run.merge(request)
    rows = receipt_of(request)["rows"]
    assert (rows["origin"], rows["rows"], rows["tokens"]) == ("held_out", 1, 32)
    assert rows["learned_positions"] == 28
    assert rows["agreement"] == rows["same_choices"] / 28
    losses = rows["loss"]
    assert losses["base"] != losses["adapter"]
    assert losses["merged"] == pytest.approx(losses["adapter"], abs=1e-2)
    assert report.receipt.rows is not None
    # Nothing of the rows leaves with the model.
    assert "20, 21, 22" not in json.dumps(rows)


def test_rows_of_another_run_are_refused(
    make_request: Callable[[float], MergeRequest],
) -> None:
    request = make_request(WIDE)
    write_rows(request.checkpoint, digest="sha256:44")
    refused(request, "MENS-A087")


def test_auto_chooses_the_first_type_whose_rows_pass(
    make_request: Callable[[float], MergeRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = make_request(WIDE)
    write_rows(request.checkpoint)
    seen = fail_first(monkeypatch, 2)
    report = merge_run.merge(request)
    found = receipt_of(request)
    assert len(seen) == 3
    assert found["number_type"]["written"] == "float32"
    tried = found["number_type"]["tried"]
    assert [each["number_type"] for each in tried] == ["bfloat16", "float16"]
    assert [each["rows"]["is_within"] for each in tried] == [False, False]
    assert "0.0 %" in tried[0]["reason"]
    assert types_of(request.output) == {torch.float32}
    assert any("written in float32" in note for note in report.notes)
    written = set(content(request.output))
    assert set(found["written"]) == written - {RECEIPT_FILE}


@pytest.mark.parametrize(("dtype", "checks"), [("auto", 3), ("bf16", 1), ("f16", 1), ("f32", 1)])
def test_a_merge_that_loses_what_was_trained_is_not_published(
    make_request: Callable[[float], MergeRequest],
    monkeypatch: pytest.MonkeyPatch,
    dtype: str,
    checks: int,
) -> None:
    request = replace(make_request(WIDE), dtype=MergeDtype(dtype))
    write_rows(request.checkpoint)
    seen = fail_first(monkeypatch, 99)
    error = refused(request, "MENS-A085", FailureKind.GATE_MISSED)
    assert len(seen) == checks
    least = ROW_TOLERANCES["merged"].agreement
    assert f"{100 * least:.1f} %" in error.problems[0].what
    assert "28 learned positions" in error.problems[0].what


def test_float16_is_passed_over_where_a_weight_does_not_fit(
    make_request: Callable[[float], MergeRequest], base: Path
) -> None:
    path = base / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][0] = 1e5
    save_file(tensors, path, {"format": "pt"})
    request = make_request(NARROW)
    merge_run.merge(request)
    found = receipt_of(request)["number_type"]
    assert found["written"] == "float32"
    assert [each["number_type"] for each in found["tried"]] == ["bfloat16", "float16"]
    assert "not finite in F16" in found["tried"][1]["reason"]


def test_float16_that_is_named_and_does_not_fit_is_refused(
    make_request: Callable[[float], MergeRequest], base: Path
) -> None:
    path = base / "model.safetensors"
    tensors = load_file(path)
    tensors["model.norm.weight"][0] = 1e5
    save_file(tensors, path, {"format": "pt"})
    refused(replace(make_request(NARROW), dtype=MergeDtype.F16), "MENS-A044")
