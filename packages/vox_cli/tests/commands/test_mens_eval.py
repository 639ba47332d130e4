from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vox_cli.commands import mens_eval
from vox_populi.pipeline.evaluate import AnswerScore, EvalReport, EvalRequest, Measured, SourceLoss
from vox_populi.pipeline.weights_choice import WeightsChoice

Vox = Callable[..., Any]

MEASURED = Measured(
    (
        SourceLoss(source="a", loss=0.5, rows=1, supervised_tokens=6),
        SourceLoss(source="b", loss=1.5, rows=2, supervised_tokens=6),
    )
)
ANSWERED = Measured(
    (
        SourceLoss(
            source="a",
            loss=0.25,
            rows=1,
            supervised_tokens=6,
            answers=AnswerScore(rows=1, exact=1, python=1, expected_python=1),
        ),
        SourceLoss(source="b", loss=0.75, rows=2, supervised_tokens=6),
    )
)
EVALUATED = EvalReport(
    model="vox-nano",
    adapter=None,
    measured=MEASURED,
    rows=3,
    truncated_rows=1,
    skipped_rows=0,
    seconds=0.5,
    device="cpu",
    compute_dtype="float32",
    notes=("a note.",),
)


class Asked:
    """Remembers a request and answers with what it was made with."""

    request: EvalRequest | None = None
    report = EVALUATED

    def __call__(self, request: EvalRequest) -> EvalReport:
        self.request = request
        return self.report


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(mens_eval, "evaluate", asked)
    return asked


def test_eval_prints_loss_and_perplexity(vox: Vox, evaluated: Asked) -> None:
    outcome = vox("mens", "eval", "--data", "rows.jsonl")
    assert evaluated.request == EvalRequest(data=(Path("rows.jsonl"),))
    assert "1.0000" in outcome.out
    assert "2.72" in outcome.out
    assert "1 truncated" in outcome.out
    assert table_of(outcome.out) == [
        ["source", "rows", "loss", "perplexity"],
        ["a", "1", "0.5000", "1.65"],
        ["b", "2", "1.5000", "4.48"],
        ["total", "3", "1.0000", "2.72"],
    ]
    assert outcome.err == "note: a note.\n"


def table_of(out: str) -> list[list[str]]:
    """Cells of the table behind the empty line."""
    lines = out.split("\n\n")[1].splitlines()
    return [re.split(r"  +", line) for line in lines]


def test_eval_shows_before_and_after_and_how_rows_were_answered(vox: Vox, evaluated: Asked) -> None:
    evaluated.report = replace(EVALUATED, measured=ANSWERED, base=MEASURED)
    argv = ["--generate", 2, "--compare-base", "--max-new-tokens", 9]
    outcome = vox("mens", "eval", "--data", "rows.jsonl", *argv)
    assert evaluated.request == EvalRequest(
        data=(Path("rows.jsonl"),), generate=2, compare_base=True, max_new_tokens=9
    )
    assert "1.0000 -> 0.5000 (-50.0 %)" in outcome.out
    assert "1 of 1" in outcome.out
    assert table_of(outcome.out)[1:3] == [
        ["a", "1", "0.5000 -> 0.2500", "1.65 -> 1.28", "- -> 1 of 1", "- -> 1 of 1"],
        ["b", "2", "1.5000 -> 0.7500", "4.48 -> 2.12", "-", "-"],
    ]
    document = vox("mens", "eval", "--data", "rows.jsonl", "--json").document
    assert document["base"]["loss"] == 1.0
    assert document["answers"]["exact"] == 1


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
    assert evaluated.request == EvalRequest(data=(Path("from-env.jsonl"),), seq_len=98)


def test_blank_and_cut_answers_are_counted(vox: Vox, evaluated: Asked) -> None:
    score = AnswerScore(rows=4, exact=0, python=0, expected_python=4, blank=1, cut=2)
    sources = (replace(MEASURED.sources[0], answers=score),)
    evaluated.report = replace(EVALUATED, measured=Measured(sources))
    assert "1 blank, 2 cut at --max-new-tokens" in vox("mens", "eval", "--data", "x").out
    whole = replace(score, blank=0, cut=0)
    evaluated.report = replace(EVALUATED, measured=Measured((replace(sources[0], answers=whole),)))
    assert "unfinished" not in vox("mens", "eval", "--data", "x").out


def test_eval_takes_a_run_or_a_model_without_a_flag(vox: Vox, evaluated: Asked) -> None:
    assert vox("mens", "eval", "my/runs/a", "--data", "rows.jsonl").code == 0
    assert evaluated.request is not None
    assert evaluated.request.weights == WeightsChoice(source=Path("my/runs/a"))
    outcome = vox("mens", "eval", "my/runs/a", "--data", "rows.jsonl", "--adapter", "p")
    assert (outcome.code, outcome.codes) == (2, ["MENS-U030"])
