from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_cli import merge_text
from vox_cli.commands import mens_merge_weights
from vox_populi.merge.choices import MergeFormat
from vox_populi.merge.receipt import (
    LOGIT_TOLERANCES,
    ROW_TOLERANCES,
    LogitCheck,
    MergeReceipt,
    NumberTypeChoice,
    RowCheck,
    TensorChange,
)
from vox_populi.pipeline.merge import (
    MergeReport,
    MergeRequest,
)

Vox = Callable[..., Any]


def change(name: str, changed_values: int) -> TensorChange:
    return TensorChange(
        name=name,
        dtype="BF16",
        shape=(2, 4),
        max_delta=0.5,
        mean_delta=0.25,
        changed_values=changed_values,
        values=8,
        squared_delta=4.0,
        squared_error=1.0,
    )


RECEIPT = MergeReceipt(
    output_format="hf",
    adapter={"rank": 2},
    base={"name": "tiny"},
    changes=(change("a.weight", 6), change("b.weight", 0)),
    n_tensors=5,
    total_bytes=2048,
    is_head_tied=True,
    logits=LogitCheck(
        prompts=((1, 2),),
        method="a test",
        max_difference=0.01,
        mean_difference=0.001,
        largest_logit=4.0,
        allowed=0.2,
        tolerance=LOGIT_TOLERANCES["BF16"],
    ),
    number_type=NumberTypeChoice(asked="auto", written="bfloat16"),
    rows=RowCheck(
        origin="held_out",
        rows=3,
        tokens=60,
        learned=40,
        changed=10,
        same=39,
        kept=10,
        base_loss=3.5,
        adapter_loss=0.5,
        merged_loss=0.625,
        tolerance=ROW_TOLERANCES["merged"],
    ),
    read={"base/config.json": "sha256:0"},
    written={"model.safetensors": "sha256:1"},
    notes=("a note.",),
)


class Asked:
    """Remembers a request and answers with what it was made with."""

    request: MergeRequest | None = None

    def __call__(self, request: MergeRequest) -> MergeReport:
        self.request = request
        return MergeReport(output=request.output, receipt=RECEIPT, notes=RECEIPT.notes, seconds=1.5)


@pytest.fixture
def merged(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(mens_merge_weights, "merge", asked)
    return asked


@pytest.mark.requirement("10")
def test_merge_prints_the_receipt(vox: Vox, merged: Asked) -> None:
    outcome = vox("mens", "merge-weights", "--checkpoint", "run", "--output-dir", "out")
    assert merged.request == MergeRequest(checkpoint=Path("run"), output=Path("out"))
    assert "1 of 5 changed" in outcome.out
    assert "1 updates vanish" in outcome.out
    assert "1.00e-02" in outcome.out
    assert "75.0 %" in outcome.out
    assert outcome.err == "note: a note.\n"


@pytest.mark.requirement("10")
def test_merge_json_is_the_receipt(vox: Vox, merged: Asked) -> None:
    argv = ["--checkpoint", "f.bin", "--output-dir", "out", "--format", "hf", "--force"]
    outcome = vox(
        "mens",
        "merge-weights",
        *argv,
        "--model",
        "base",
        "--threads",
        2,
        "--include-system-prompt",
        "--json",
    )
    document = outcome.document
    assert merged.request == MergeRequest(
        checkpoint=Path("f.bin"),
        output=Path("out"),
        model_dir=Path("base"),
        output_format=MergeFormat.HF,
        include_system_prompt=True,
        force=True,
        threads=2,
    )
    assert document["ok"] is True
    assert document["receipt"] == str(Path("out") / "merge_receipt.json")
    assert document["tensors_changed"] == 1
    assert document["unchanged_after_rounding"] == ["b.weight"]
    assert document["logits"]["max_difference"] < document["logits"]["allowed"]
    assert {"read", "written", "seconds", "notes"} <= set(document)


@pytest.mark.requirement("10")
def test_merge_shows_a_long_table_in_part(
    vox: Vox, merged: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge_text, "MAX_ROWS", 1)
    outcome = vox("mens", "merge-weights", "--checkpoint", "run", "--output-dir", "out")
    assert "b.weight" not in outcome.out
    assert "and 1 more in merge_receipt.json" in outcome.out


@pytest.mark.requirement("10")
def test_merge_needs_to_know_what_and_where(vox: Vox, merged: Asked) -> None:
    outcome = vox("mens", "merge-weights", "--checkpoint", "run")
    assert outcome.code == 2
    assert merged.request is None
