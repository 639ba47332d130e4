"""Deciding by a policy whether reports of evaluations pass, with a receipt. No torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vox_populi.errors import ModelError, PreflightError
from vox_populi.evals.eval_report import ReadReport, read_report
from vox_populi.evals.gate_policy import parse_policy
from vox_populi.evals.gates import GateOutcome, judge_report
from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.strict_json import read_json_object
from vox_populi.files.whole_file import canonical_json, pretty_json, with_own_digest, write_whole
from vox_populi.operator_messages import evals as say
from vox_tensor.errors import Problem

RECEIPT_SCHEMA = "vox_mens_gate_receipt_v1"
RECEIPT_FILE = "gate_receipt.json"
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalGateRequest:
    """Reports to hold to a policy."""

    reports: tuple[Path, ...]
    policy_file: Path
    policy: object
    """Content of the policy's document."""
    baseline: Path | None = None
    receipt: Path | None = None
    """`None`: `gate_receipt.json` in the folder of the first report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalGateReport:
    """What became of each rule."""

    outcomes: tuple[GateOutcome, ...]
    receipt: Path
    document: Mapping[str, object]

    @property
    def ok(self) -> bool:
        """Whether every blocking rule passed on every report."""
        return not any(outcome.is_miss for outcome in self.outcomes)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The misses."""
        return tuple(outcome.problem for outcome in self.outcomes if outcome.is_miss)

    @property
    def notes(self) -> tuple[str, ...]:
        """Rules that were not met and do not block."""
        return tuple(
            say.note_gate_missed(outcome.rule.name, outcome.message, outcome.report)
            for outcome in self.outcomes
            if not outcome.is_miss and not outcome.as_json()["passed"]
        )

    def as_json(self) -> JsonObject:
        """The receipt and its place."""
        return {**self.document, "receipt": str(self.receipt)}


def gate_reports(request: EvalGateRequest) -> EvalGateReport:
    """Hold each report to the policy and write the receipt, whatever comes out.

    Raises:
        ConfigError: For a policy that cannot be used.
        ArtifactError: For a report that cannot be read, or was edited.
        PreflightError: When the receipt would replace something else.
    """
    policy = parse_policy(request.policy, str(request.policy_file))
    reports = [read_report(path) for path in request.reports]
    baseline = None if request.baseline is None else read_report(request.baseline)
    receipt = request.receipt or reports[0].path.with_name(RECEIPT_FILE)
    _require_free(receipt)
    outcomes = tuple(
        outcome for report in reports for outcome in judge_report(policy, report, baseline)
    )
    document = with_own_digest(
        {
            "schema": RECEIPT_SCHEMA,
            "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "policy": {"file": request.policy_file.name, "sha256": _digest(request.policy)},
            "reports": [_named(report) for report in reports],
            "baseline": None if baseline is None else _named(baseline),
            "overall_passed": not any(outcome.is_miss for outcome in outcomes),
            "gates": [outcome.as_json() for outcome in outcomes],
        }
    )
    write_whole(receipt, pretty_json(document))
    return EvalGateReport(outcomes=outcomes, receipt=receipt, document=document)


def _require_free(receipt: Path) -> None:
    """Replace a receipt of an earlier time and nothing else.

    Raises:
        PreflightError: When something else is there.
    """
    if not os.path.lexists(receipt):
        return
    try:
        is_receipt = read_json_object(receipt, _MOST_BYTES).get("schema") == RECEIPT_SCHEMA
    except ModelError:
        is_receipt = False
    if receipt.is_symlink() or not is_receipt:
        raise PreflightError(say.RECEIPT_OCCUPIED.at(str(receipt)))


def _named(report: ReadReport) -> JsonObject:
    return {
        "file": str(report.path),
        "sha256": report.sha256,
        "model": report.model,
        "tasks": report.tasks_digest,
    }


def _digest(document: object) -> str:
    assert isinstance(document, Mapping), "parsed before"
    return hashlib.sha256(canonical_json(document).encode()).hexdigest()
