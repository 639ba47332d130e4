"""Scorecards as readable text."""

from __future__ import annotations

from vox_cli.eval_text import NOTHING, table_lines
from vox_cli.report_text import aligned
from vox_populi.evals.scorecard_cycle import BACKENDS, Cycle
from vox_populi.evals.scorecard_decision import condition_kpis
from vox_populi.evals.scorecard_kpis import REQUIRED_KPIS
from vox_populi.pages.scorecard_page import kpi_interval, kpi_text
from vox_populi.pipeline.scorecard import CycleReport, DecisionReport, VerifyReport


def cycle_text(report: CycleReport) -> str:
    """The KPIs of a cycle."""
    cycle = report.cycle
    runs = [
        (backend.value, f"{each.facts.run}, lane {each.facts.lane}")
        for backend, each in cycle.conditions.items()
    ]
    head = aligned(
        [
            ("suite", f"{cycle.suite.name}, {cycle.suite_digest[:19]}…"),
            *runs,
            ("time", f"{report.seconds:.1f} s"),
            ("written", report.output),
        ]
    )
    return f"{head}\n\n{_kpis(cycle)}"


def _kpis(cycle: Cycle) -> str:
    rows = [["KPI"]]
    for backend in BACKENDS:
        rows[0] += [backend.value, "95 % interval"]
    for kpi in REQUIRED_KPIS:
        row = [kpi.value]
        for backend in BACKENDS:
            rate = condition_kpis(cycle, backend).get(kpi)
            row += [kpi_text(kpi, rate), kpi_interval(kpi, rate)]
        rows.append(row)
    return "\n".join(table_lines(rows))


def decision_text(report: DecisionReport) -> str:
    """The gains of the candidate in each cycle, then the verdict."""
    decision = report.decision
    parts = []
    if decision.pooled:
        names = [f"cycle {number}" for number in range(1, len(decision.cycles) + 1)]
        rows = [["gain of lora, points", *names, "together", "95 % interval"]]
        for kpi in REQUIRED_KPIS:
            pooled = decision.pooled[kpi]
            interval = f"{100 * pooled.low:+.1f} to {100 * pooled.high:+.1f}"
            gains = [f"{100 * gain:+.1f}" for gain in decision.gains[kpi]]
            rows.append([kpi.value, *gains, f"{100 * pooled.value:+.1f}", interval])
        parts.append("\n".join(table_lines(rows)))
    reasons = [("reason", reason) for reason in decision.reasons] if report.ok else []
    parts.append(
        aligned([("verdict", decision.verdict.value), *reasons, ("written", report.output)])
    )
    return "\n\n".join(parts)


def verify_text(report: VerifyReport) -> str:
    """What was verified."""
    rows = [(cycle.where, f"fits its digest and events, {cycle.sha256}") for cycle in report.cycles]
    return aligned([("suite", report.suite or NOTHING), *rows])
