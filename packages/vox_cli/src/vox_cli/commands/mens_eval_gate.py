"""`vox mens eval-gate`: whether reports of evaluations meet a policy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.eval_text import table_lines
from vox_cli.report_text import aligned
from vox_cli.yaml_values import read_yaml
from vox_populi.pipeline.eval_gate import EvalGateReport, EvalGateRequest, gate_reports
from vox_tensor.visible_text import one_line


def eval_gate(
    console: Console,
    reports: Annotated[
        list[Path],
        flags.path_argument("Reports of eval-local, or folders with one.", "REPORT..."),
    ],
    policy: Annotated[Path, flags.path("YAML file of the rules.", "FILE")],
    baseline: Annotated[
        Path | None, flags.path("Earlier report on the same tasks, to compare with.", "REPORT")
    ] = None,
    receipt: Annotated[
        Path | None,
        flags.path("File for the receipt.", "FILE", default="gate_receipt.json beside REPORT"),
    ] = None,
) -> None:
    """Hold reports to a policy: least rates, and how much may be lost against a baseline.

    Exits with code 6 if a rule that blocks is not met or cannot be judged: for want of the rate, of
    the baseline, or because the tasks differ. Writes a receipt either way.
    """
    request = EvalGateRequest(
        reports=tuple(reports),
        policy_file=policy,
        policy=read_yaml(policy),
        baseline=baseline,
        receipt=receipt,
    )
    report = gate_reports(request)
    console.notes(report.notes)
    console.gated(report, gate_text)


def gate_text(report: EvalGateReport) -> str:
    """A line for each rule, then the verdict."""
    words = {True: "yes", False: "no"}
    head = [["rule", "outcome", "blocks"]]
    told = [(each.rule.name, each.outcome.value, each.rule.block) for each in report.outcomes]
    rows = head + [[name, outcome, words[block]] for name, outcome, block in told]
    found = ["found", *(one_line(outcome.message) for outcome in report.outcomes)]
    lines = [f"{line}  {words}" for line, words in zip(table_lines(rows), found, strict=True)]
    verdict = "passed" if report.ok else "missed"
    foot = aligned([("policy", verdict), ("receipt", report.receipt)])
    return "\n".join([*lines, "", foot])
