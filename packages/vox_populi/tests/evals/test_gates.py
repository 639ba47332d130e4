"""A policy passes what meets it, and nothing that could not be judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from packages.vox_populi.tests.schemas import meets_schema
from vox_populi.errors import ArtifactError, ConfigError, PreflightError
from vox_populi.evals.checks import Judged, Verdict
from vox_populi.evals.eval_report import (
    REPORT_FILE,
    EvalDigests,
    MeasuredTasks,
    read_report,
    report_document,
)
from vox_populi.evals.eval_task import CheckKind, EvalTask, Measure
from vox_populi.evals.gate_policy import parse_policy
from vox_populi.evals.task_results import SampleResult, TaskResult
from vox_populi.files.whole_file import pretty_json
from vox_populi.pipeline.eval_gate import EvalGateReport, EvalGateRequest, gate_reports

WriteReport = Callable[..., Path]


def results(passed: int, total: int) -> tuple[TaskResult, ...]:
    def one(number: int) -> TaskResult:
        reason = None if number < passed else "wrong"
        verdict = Verdict(CheckKind.PYTHON, Measure.SYNTAX, reason)
        sample = SampleResult(0, "x", 1, "stop_token", Judged((verdict,)))
        return TaskResult(EvalTask(task_id=str(number), tags=("t",)), (sample,))

    return tuple(one(number) for number in range(total))


@pytest.fixture
def write_report(tmp_path: Path) -> WriteReport:
    def write(name: str, passed: int, tasks: str = "sha256:1", total: int = 10) -> Path:
        document = report_document(
            model="m",
            adapter=None,
            digests=EvalDigests(tasks=tasks, base="b", adapter=None, settings="s"),
            settings={},
            measured=MeasuredTasks(results=results(passed, total)),
            base=None,
        )
        folder = tmp_path / name
        folder.mkdir()
        (folder / REPORT_FILE).write_bytes(pretty_json(document))
        return folder

    return write


def gate(policy: object, *reports: Path, baseline: Path | None = None) -> EvalGateReport:
    return gate_reports(
        EvalGateRequest(
            reports=reports, policy_file=Path("policy.yaml"), policy=policy, baseline=baseline
        )
    )


def rules(**rule: Any) -> dict[str, Any]:
    return {"gates": [{"metric": "pass_at_1", **rule}]}


def test_rates_pass_at_their_limit_and_fail_beyond(write_report: WriteReport) -> None:
    report = write_report("a", 8)
    for rule, ok in (
        ({"min": 0.8}, True),
        ({"min": 0.81}, False),
        ({"max": 0.8}, True),
        ({"max": 0.79}, False),
        ({"min": 0.8, "bound": "low"}, False),
        ({"min": 0.8, "group": "tag:t"}, True),
        ({"min": 0.8, "group": "tag:other"}, False),
        ({"metric": "syntax_at_1", "min": 0.8}, True),
        ({"metric": "semantic_at_1", "min": 0.0}, False),
    ):
        outcome = gate(rules(**rule), report)
        assert outcome.ok == ok, rule
        receipt = json.loads((report / "gate_receipt.json").read_text())
        assert receipt["overall_passed"] == ok
        assert bool(outcome.problems) != ok


def test_losses_against_a_baseline(write_report: WriteReport) -> None:
    before, now = write_report("before", 6), write_report("now", 5)
    assert gate(rules(max_drop=0.1), now, baseline=before).ok
    assert not gate(rules(max_drop=0.09), now, baseline=before).ok
    assert gate(rules(max_drop=0), before, baseline=now).ok
    assert not gate(rules(max_rise=0.05), before, baseline=now).ok


def test_what_cannot_be_judged_never_passes(write_report: WriteReport) -> None:
    report, other = write_report("a", 10), write_report("b", 10, tasks="sha256:2")
    for policy, baseline in (
        (rules(metric="no_such", min=0), None),
        (rules(max_drop=1), None),
        (rules(max_drop=1), other),
        (rules(min=0), other),
        ({**rules(min=0), "tasks": "sha256:3"}, None),
    ):
        missed = gate(policy, report, baseline=baseline)
        assert [each.code for each in missed.problems] == ["MENS-V022"]
    assert not gate(rules(min=0), report, other, baseline=report).ok


def test_a_rule_that_does_not_block_is_a_note(write_report: WriteReport) -> None:
    policy = {"gates": [{"metric": "pass_at_1", "min": 0}, {"metric": "x", "min": 1}]}
    report = write_report("a", 3)
    assert not gate(policy, report).ok
    policy["gates"][1]["block"] = False
    passed = gate(policy, report)
    assert passed.ok
    assert len(passed.notes) == 1


POLICIES: list[tuple[object, bool]] = [
    (rules(min=0.5), True),
    ({**rules(max_drop=0.1, bound="high", group="all", block=True), "tasks": "x"}, True),
    (rules(), False),
    (rules(min=50), False),
    (rules(min=0.5, blocks=True), False),
    ({**rules(min=0.5), "more": 1}, False),
    ({"gates": []}, False),
    ({"gates": [{"metric": "x", "min": 0, "block": False}]}, False),
    ({}, False),
    (3, False),
]


@pytest.mark.parametrize(("policy", "is_good"), POLICIES)
def test_the_reader_of_policies_and_their_schema_agree(policy: object, is_good: bool) -> None:
    assert meets_schema(policy, "eval-policy") == is_good
    if is_good:
        assert parse_policy(policy, "p").rules
    else:
        with pytest.raises(ConfigError) as caught:
            parse_policy(policy, "p")
        assert caught.value.problems[0].code == "MENS-V020"


def test_a_report_that_was_edited_is_refused(write_report: WriteReport) -> None:
    report = write_report("a", 3)
    assert read_report(report).metrics["all"]["pass_at_1"].value == 0.3
    file = report / REPORT_FILE
    file.write_text(file.read_text().replace("0.3", "0.9", 1))
    with pytest.raises(ArtifactError) as caught:
        gate(rules(min=0), report)
    assert caught.value.problems[0].code == "MENS-V012"
    file.write_text("{}")
    with pytest.raises(ArtifactError) as caught:
        read_report(file)
    assert caught.value.problems[0].code == "MENS-V011"


def test_a_receipt_replaces_only_a_receipt(write_report: WriteReport) -> None:
    report = write_report("a", 3)
    gate(rules(min=0), report)
    gate(rules(min=0), report)
    (report / "gate_receipt.json").write_text('{"schema": "other"}')
    with pytest.raises(PreflightError) as caught:
        gate(rules(min=0), report)
    assert caught.value.problems[0].code == "MENS-V023"
