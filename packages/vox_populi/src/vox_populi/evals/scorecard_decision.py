"""Promote, hold, or not enough evidence: the policy for the LoRA lane, in code.

The source system asks for scorecards with both backends over at least two cycles, with differences
in syntax and semantics and with figures of runtime repair, before its research backend may be used
in production. What is missing, different or edited is never taken for good.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from vox_populi.contract.choices import Backend
from vox_populi.evals.rates import CONFIDENCE, Rate, mean_difference
from vox_populi.evals.scorecard_cycle import BACKENDS, Cycle, kpi_values
from vox_populi.evals.scorecard_kpis import REQUIRED_KPIS, Kpi, gains_of, kpis_of
from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.whole_file import with_own_digest

DECISION_SCHEMA = "vox_mens_scorecard_decision_v1"
CANDIDATE, REFERENCE = BACKENDS


class Verdict(StrEnum):
    """What becomes of the candidate."""

    PROMOTE = "promote"
    HOLD = "hold"
    INSUFFICIENT = "insufficient"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict with its reasons and the numbers behind it."""

    verdict: Verdict
    reasons: tuple[str, ...]
    cycles: tuple[Cycle, ...]
    gains: Mapping[Kpi, tuple[float, ...]]
    """Mean gain of each cycle."""
    pooled: Mapping[Kpi, Rate]
    """Gain over all tasks of all cycles, with an interval."""

    def document(self) -> dict[str, object]:
        """The file of the decision; nothing in it depends on the clock."""
        return with_own_digest(
            {
                "schema": DECISION_SCHEMA,
                "candidate": CANDIDATE.value,
                "reference": REFERENCE.value,
                "verdict": self.verdict.value,
                "reasons": list(self.reasons),
                "suite": sorted({cycle.suite_digest for cycle in self.cycles}),
                "base": sorted(_contents(self.cycles, "base")),
                "cycles": [_cycle_json(cycle) for cycle in self.cycles],
                "gains": {kpi.value: list(each) for kpi, each in self.gains.items()},
                "pooled_gains": kpi_values(self.pooled),
            }
        )


def decide(cycles: Sequence[Cycle], unusable: Sequence[str] = ()) -> Decision:
    """Decide about the candidate.

    Args:
        cycles: Every cycle that can be used.
        unusable: Why others cannot; one is enough to decide nothing.
    """
    lacking = [*unusable, *_lacking(cycles)]
    if lacking:
        return Decision(
            verdict=Verdict.INSUFFICIENT,
            reasons=tuple(lacking),
            cycles=tuple(cycles),
            gains={},
            pooled={},
        )
    by_cycle = [_gains(cycle) for cycle in cycles]
    gains = {kpi: tuple(fmean(each[kpi]) for each in by_cycle) for kpi in REQUIRED_KPIS}
    pooled = {
        kpi: mean_difference([value for each in by_cycle for value in each[kpi]])
        for kpi in REQUIRED_KPIS
    }
    reasons = [*_below_floors(cycles), *_worse(cycles[0].suite.margin, gains, pooled)]
    return Decision(
        verdict=Verdict.HOLD if reasons else Verdict.PROMOTE,
        reasons=tuple(reasons) or (_kept(cycles),),
        cycles=tuple(cycles),
        gains=gains,
        pooled=pooled,
    )


def _lacking(cycles: Sequence[Cycle]) -> Iterator[str]:
    """Why the cycles are no evidence, whatever their numbers."""
    needed = max((cycle.suite.cycles for cycle in cycles), default=2)
    if len(cycles) < needed:
        yield f"there are {len(cycles)} usable cycles, and the suite asks for {needed}"
    if len({cycle.suite_digest for cycle in cycles}) > 1:
        yield "the cycles have different suites: tasks, seed, attempts or limits differ"
    if len({str(sorted(cycle.settings.items())) for cycle in cycles}) > 1:
        yield "the cycles were measured with different settings: device, number type or code"
    if len(_contents(cycles, "base")) > 1:
        yield "the runs have different bases"
    for cycle in cycles:
        yield from _lacking_in(cycle)
    for backend in BACKENDS:
        held = [cycle.conditions[backend] for cycle in cycles if backend in cycle.conditions]
        if len({condition.facts.adapter for condition in held}) < len(held):
            yield f"two cycles have the same {backend.value} adapter, which is one cycle twice"


def _lacking_in(cycle: Cycle) -> Iterator[str]:
    missing = [backend for backend in BACKENDS if backend not in cycle.conditions]
    for backend in missing:
        yield f"{cycle.where} has no {backend.value} run"
    if missing:
        return
    ours, theirs = (cycle.conditions[backend] for backend in BACKENDS)
    if ours.facts.train != theirs.facts.train:
        yield f"{cycle.where}: the two runs were trained on different rows"
    if [each.task_id for each in ours.events] != [each.task_id for each in theirs.events]:
        yield f"{cycle.where}: the two runs answered different tasks"
        return
    for backend in BACKENDS:
        events = cycle.conditions[backend].events
        found = kpis_of(events, cycle.suite.max_attempts)
        absent = [kpi.value for kpi in REQUIRED_KPIS if kpi not in found]
        if absent:
            yield f"{cycle.where} has no {', '.join(absent)} of {backend.value}"


def _gains(cycle: Cycle) -> dict[Kpi, list[float]]:
    ours, theirs = (cycle.conditions[backend].events for backend in BACKENDS)
    return gains_of(ours, theirs, cycle.suite.max_attempts)


def _below_floors(cycles: Sequence[Cycle]) -> Iterator[str]:
    for cycle in cycles:
        kpis = kpis_of(cycle.conditions[CANDIDATE].events, cycle.suite.max_attempts)
        for name, floor in cycle.suite.floors.items():
            value = kpis[Kpi(name)].value
            if value < floor:
                yield f"{cycle.where}: {name} is {value:.3g}, below its floor of {floor:g}"


def _worse(
    margin: float, gains: Mapping[Kpi, Sequence[float]], pooled: Mapping[Kpi, Rate]
) -> Iterator[str]:
    for kpi in REQUIRED_KPIS:
        worst = min(gains[kpi])
        if worst < -margin:
            yield f"{kpi.value} is worse by {-worst:.3g} in a cycle; {margin:g} is allowed"
        elif (low := _surely(pooled[kpi])) < -margin:
            yield (
                f"{kpi.value} may be worse by {-low:.3g} (95 % interval of all cycles);"
                f" {margin:g} is allowed: measure more tasks or cycles"
            )


def _surely(gain: Rate) -> float:
    """The lower end of a gain, never nearer to it than its number of tasks allows.

    Resampling equal values gives an interval without width, however few they are. With n tasks, a
    loss in a share of `1 - 0.05 ** (1 / n)` of all tasks goes unseen once in twenty times (the
    rule of three; Hanley and Lippman-Hand 1983).
    """
    unseen = 1.0 - math.pow(1.0 - CONFIDENCE, 1.0 / gain.tasks)
    return min(gain.low, gain.value - unseen)


def _kept(cycles: Sequence[Cycle]) -> str:
    margin = cycles[0].suite.margin
    return f"no KPI is worse by more than {margin:g} in {len(cycles)} cycles, nor in its interval"


def _contents(cycles: Sequence[Cycle], name: str) -> set[str]:
    return {
        str(getattr(condition.facts, name))
        for cycle in cycles
        for condition in cycle.conditions.values()
    }


def _cycle_json(cycle: Cycle) -> JsonObject:
    return {
        "file": cycle.where,
        "sha256": cycle.sha256,
        "suite": cycle.suite_digest,
        "conditions": {
            backend.value: {
                **condition.facts.as_json(),
                "kpis": kpi_values(kpis_of(condition.events, cycle.suite.max_attempts)),
            }
            for backend, condition in cycle.conditions.items()
        },
    }


def condition_kpis(cycle: Cycle, backend: Backend) -> Mapping[Kpi, Rate]:
    """The KPIs of one backend in a cycle; none without it."""
    condition = cycle.conditions.get(backend)
    return {} if condition is None else kpis_of(condition.events, cycle.suite.max_attempts)
