"""What a merge of a QLoRA adapter is compared with on rows of its run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from packages.vox_populi.tests.pipeline.test_qlora_merge_run import receipt_of
from packages.vox_populi.tests.qlora_adapters import write_own
from packages.vox_populi.tests.qlora_refusals import refused
from vox_populi.adapters.v3.files import read_qlora_adapter
from vox_populi.merge import prove
from vox_populi.merge.choices import Onto
from vox_populi.merge.number_type import MergeDtype
from vox_populi.merge.receipt import ROW_TOLERANCES, RowCheck, RowTolerance
from vox_populi.merge.row_check import row_check
from vox_populi.pipeline import merge_run
from vox_populi.pipeline.merge import (
    QloraMergeRequest,
)
from vox_populi.runs.check_rows import CHECK_ROWS_FILE, RowOrigin, pick_check_rows
from vox_tensor.errors import FailureKind
from vox_tensor.records import IGNORE_INDEX, EncodedRow

pytestmark = pytest.mark.requirement("10")

MakeBase = Callable[..., Path]


@pytest.fixture
def request_hf(make_base: MakeBase, tmp_path: Path) -> QloraMergeRequest:
    base = make_base()
    write_own(tmp_path / "run", base)
    return QloraMergeRequest(
        adapter=tmp_path / "run", output=tmp_path / "out" / "merged", base=base, threads=1
    )


def write_check_rows(run: Path) -> None:
    ids = tuple(range(20, 52))
    rows = [EncodedRow(ids, (IGNORE_INDEX,) * 4 + ids[4:])]
    found, sidecar = read_qlora_adapter(run)
    assert sidecar.ours is not None
    digest = found.header.contract_digest
    picked = pick_check_rows(rows, RowOrigin.TRAIN, digest)
    (run / CHECK_ROWS_FILE).write_text(json.dumps(picked.as_json()), encoding="utf-8")


@pytest.mark.parametrize("onto", Onto)
def test_rows_are_compared_with_the_weights_that_are_merged_onto(
    request_hf: QloraMergeRequest, onto: Onto, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An adapter of random numbers gains nothing that could come along to another base.
    easy = replace(ROW_TOLERANCES["other"], agreement=0.0, lost_gain=1e9)
    monkeypatch.setattr(prove, "ROW_TOLERANCES", {**ROW_TOLERANCES, "other": easy})
    write_check_rows(request_hf.adapter)
    report = merge_run.merge(replace(request_hf, onto=onto))
    rows, trained = report.receipt.rows, report.receipt.training_rows
    assert rows is not None
    # float32 on both sides: the sum is the adapter beside these weights.
    assert rows.merged_loss == pytest.approx(rows.adapter_loss, abs=1e-4)
    assert rows.same == rows.learned == 28
    assert rows.adapter_loss != rows.base_loss
    assert ("rows_from_training" in receipt_of(request_hf.output)) == (onto is Onto.ORIGINAL)
    if onto is Onto.DEQUANT:
        assert trained is None
        return
    assert trained is not None
    assert trained.merged_loss == rows.merged_loss
    assert trained.base_loss != rows.base_loss
    assert trained.adapter_loss != rows.adapter_loss


def test_a_gain_that_does_not_come_along_is_refused(
    request_hf: QloraMergeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_check_rows(request_hf.adapter)

    def lose(origin: str, rows: Any, sides: Any, tolerance: RowTolerance) -> RowCheck:
        found = row_check(origin, rows, sides, tolerance)
        is_other = tolerance is ROW_TOLERANCES["other"]
        lost = replace(found, base_loss=3.0, adapter_loss=1.0, merged_loss=1.3)
        return lost if is_other else found

    monkeypatch.setattr(prove, "row_check", lose)
    assert merge_run.merge(replace(request_hf, onto=Onto.DEQUANT)).receipt.rows is not None
    request = replace(request_hf, onto=Onto.ORIGINAL, output=request_hf.output.with_name("other"))
    error = refused(request, "MENS-A085", kind=FailureKind.GATE_MISSED)
    assert "85.0 % of the gain (at least 90.0 %)" in str(error)


def test_a_subset_is_float32_and_says_so(request_hf: QloraMergeRequest) -> None:
    subset = replace(request_hf, subset=True)
    refused(replace(subset, dtype=MergeDtype.BF16), "MENS-A086", kind=FailureKind.USAGE)
    merge_run.merge(replace(subset, dtype=MergeDtype.F32))
    found = receipt_of(request_hf.output)["number_type"]
    assert found == {"asked": "f32", "written": "float32", "tried": []}
