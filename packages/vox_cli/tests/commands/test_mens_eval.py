from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_cli.commands import mens_eval
from vox_populi.pipeline.reports import EvalReport, SourceLoss
from vox_populi.pipeline.requests import EvalRequest, WeightsChoice

Vox = Callable[..., Any]

EVALUATED = EvalReport(
    model="vox-nano",
    adapter=None,
    loss=1.0,
    rows=3,
    supervised_tokens=12,
    truncated_rows=1,
    skipped_rows=0,
    sources=(
        SourceLoss(source="a", loss=0.5, rows=1, supervised_tokens=6),
        SourceLoss(source="b", loss=1.5, rows=2, supervised_tokens=6),
    ),
    seconds=0.5,
    device="cpu",
    compute_dtype="float32",
    notes=("a note.",),
)


class Asked:
    """Remembers a request and answers with what it was made with."""

    request: EvalRequest | None = None

    def __call__(self, request: EvalRequest) -> EvalReport:
        self.request = request
        return EVALUATED


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(mens_eval, "evaluate", asked)
    return asked


def test_eval_prints_loss_and_perplexity(vox: Vox, evaluated: Asked) -> None:
    outcome = vox("mens", "eval", "--data", "rows.jsonl")
    assert evaluated.request == EvalRequest(data=Path("rows.jsonl"))
    assert "1.0000" in outcome.out
    assert "2.72" in outcome.out
    assert "1 truncated" in outcome.out
    assert "a  loss 0.5000" in outcome.out
    assert outcome.err == "note: a note.\n"


def test_eval_json_has_the_promised_fields(vox: Vox, evaluated: Asked) -> None:
    document = vox("mens", "eval", "--data", "rows.jsonl", "--run", "runs/x", "--json").document
    assert {"loss", "perplexity", "supervised_tokens", "rows", "sources"} <= set(document)
    assert evaluated.request is not None
    assert evaluated.request.weights == WeightsChoice(run=Path("runs/x"))


def test_a_run_and_a_checkpoint_exclude_each_other(vox: Vox, evaluated: Asked) -> None:
    argv = ["--run", "r", "--checkpoint", "c.bin"]
    outcome = vox("mens", "eval", "--data", "rows.jsonl", *argv)
    assert (outcome.code, outcome.codes) == (2, ["MENS-U030"])
    assert evaluated.request is None


def test_a_value_can_come_from_the_environment(
    vox: Vox, evaluated: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOX_MENS_DATA", "from-env.jsonl")
    monkeypatch.setenv("VOX_MENS_SEQ_LEN", "99")
    assert vox("mens", "eval", "--seq-len", 98).code == 0
    assert evaluated.request == EvalRequest(data=Path("from-env.jsonl"), seq_len=98)
