"""Holding reports to a policy: a rule passes, fails, or cannot be judged, which never passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from vox_populi.evals.eval_report import ReadReport
from vox_populi.evals.gate_policy import GatePolicy, GateRule
from vox_populi.evals.rates import Rate
from vox_populi.files.json_numbers import JsonObject
from vox_populi.operator_messages import evals as say
from vox_tensor.errors import Problem

_NO_ROUNDING_LOSS = 1e-9
"""A drop from 0.6 to 0.57 is 0.030000000000000027 in floats; a limit of 0.03 allows it."""


class Outcome(StrEnum):
    """What became of a rule."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_JUDGED = "not_judged"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOutcome:
    """One rule on one report."""

    rule: GateRule
    report: str
    """Path of the report."""
    outcome: Outcome
    message: str

    @property
    def is_miss(self) -> bool:
        """Whether it stops the whole."""
        return self.rule.block and self.outcome is not Outcome.PASSED

    @property
    def problem(self) -> Problem:
        """What is shown of a miss."""
        if self.outcome is Outcome.FAILED:
            return say.gate_failed(self.rule.name, self.message).at(self.report)
        return say.gate_not_judged(self.rule.name, self.message).at(self.report)

    def as_json(self) -> JsonObject:
        """One entry of a receipt's `gates`."""
        return {
            "name": self.rule.name,
            "report": self.report,
            "outcome": self.outcome.value,
            "passed": self.outcome is Outcome.PASSED,
            "block": self.rule.block,
            "message": self.message,
        }


def judge_report(
    policy: GatePolicy, report: ReadReport, baseline: ReadReport | None
) -> Iterator[GateOutcome]:
    """Each rule of a policy on a report."""
    other = _other_tasks(policy, report, baseline)
    for rule in policy.rules:
        outcome, message = (Outcome.NOT_JUDGED, other) if other else _judge(rule, report, baseline)
        yield GateOutcome(rule=rule, report=str(report.path), outcome=outcome, message=message)


def _other_tasks(policy: GatePolicy, report: ReadReport, baseline: ReadReport | None) -> str | None:
    """Why rates of a report do not count, whatever they are."""
    if policy.tasks is not None and policy.tasks != report.tasks_digest:
        return "the report is about other tasks than those of the policy"
    if baseline is not None and baseline.tasks_digest != report.tasks_digest:
        return "the report is about other tasks than the baseline"
    return None


def _judge(rule: GateRule, report: ReadReport, baseline: ReadReport | None) -> tuple[Outcome, str]:
    rate = report.metrics.get(rule.group, {}).get(rule.metric)
    if rate is None:
        return Outcome.NOT_JUDGED, "the report has no such rate"
    before = None
    if rule.needs_baseline:
        if baseline is None:
            return Outcome.NOT_JUDGED, "it compares with a baseline, and there is none"
        before = baseline.metrics.get(rule.group, {}).get(rule.metric)
        if before is None:
            return Outcome.NOT_JUDGED, "the baseline has no such rate"
    reasons = [*_beyond_limits(rule, rate), *_beyond_baseline(rule, rate, before)]
    return (Outcome.FAILED, "; ".join(reasons)) if reasons else (Outcome.PASSED, _kept(rule, rate))


def _beyond_limits(rule: GateRule, rate: Rate) -> Iterator[str]:
    value: float = getattr(rate, rule.bound.value)
    if rule.least is not None and value < rule.least:
        yield f"{rule.bound.value} {value:.4g} is below {rule.least:g}"
    if rule.most is not None and value > rule.most:
        yield f"{rule.bound.value} {value:.4g} is above {rule.most:g}"


def _beyond_baseline(rule: GateRule, rate: Rate, before: Rate | None) -> Iterator[str]:
    if before is None:
        return
    change = rate.value - before.value
    told = f"{before.value:.4g} before, {rate.value:.4g} now"
    if rule.max_drop is not None and -change > rule.max_drop + _NO_ROUNDING_LOSS:
        yield f"it fell by {-change:.4g} ({told}), more than {rule.max_drop:g}"
    if rule.max_rise is not None and change > rule.max_rise + _NO_ROUNDING_LOSS:
        yield f"it rose by {change:.4g} ({told}), more than {rule.max_rise:g}"


def _kept(rule: GateRule, rate: Rate) -> str:
    return f"{rule.bound.value} {getattr(rate, rule.bound.value):.4g}"
