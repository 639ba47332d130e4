"""The KPIs of a scorecard, computed from its events, and their paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import fmean

from vox_populi.evals.rates import Rate, mean_difference, rate_of
from vox_populi.files.json_fields import FieldError, check_keys, take, take_count, take_name
from vox_populi.files.json_report import JsonReport, shown


class Kpi(StrEnum):
    """What is measured of each backend."""

    SYNTAX_AT_1 = "syntax_at_1"
    SYNTAX_AT_N = "syntax_at_n"
    SEMANTIC_AT_1 = "semantic_at_1"
    SEMANTIC_AT_N = "semantic_at_n"
    PASS_AT_1 = "pass_at_1"
    PASS_AT_N = "pass_at_n"
    TRIES_UNTIL_VALID = "tries_until_valid"
    """Attempts until every check is met; one more than allowed for what never is."""
    STALL_RATE = "stall_rate"
    """Share of tasks where an answer came back that had been refused already."""

    @property
    def is_share(self) -> bool:
        """Whether it is from 0 to 1."""
        return self is not Kpi.TRIES_UNTIL_VALID

    @property
    def less_is_better(self) -> bool:
        """Whether a smaller number is the better one."""
        return self in (Kpi.TRIES_UNTIL_VALID, Kpi.STALL_RATE)


REQUIRED_KPIS = tuple(Kpi)
"""A decision takes every one of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorecardEvent(JsonReport):
    """One task of one backend: its attempts until an answer met every check, or none were left."""

    task_id: str = field(metadata=shown("task"))
    attempts: int
    valid_at: int | None
    """The attempt that met every check, from 1."""
    stalled: bool
    syntax: tuple[bool, bool] | None
    """Whether the first and the last answer met the checks of syntax; `None` without any."""
    semantic: tuple[bool, bool] | None
    tokens: int
    """Number of tokens in all answers."""
    reasons: tuple[tuple[str, ...], ...]
    """Why each attempt was refused; empty for the one that was not."""
    answers: tuple[str, ...]

    def values(self, max_attempts: int) -> dict[Kpi, float]:
        """This task's part of each KPI."""
        found = {
            Kpi.PASS_AT_1: float(self.valid_at == 1),
            Kpi.STALL_RATE: float(self.stalled),
        }
        if self.syntax is not None:
            found[Kpi.SYNTAX_AT_1] = float(self.syntax[0])
        if self.semantic is not None:
            found[Kpi.SEMANTIC_AT_1] = float(self.semantic[0])
        if max_attempts == 1:
            # Nothing was repaired, so there is nothing to say about it.
            del found[Kpi.STALL_RATE]
            return found
        found[Kpi.PASS_AT_N] = float(self.valid_at is not None)
        found[Kpi.TRIES_UNTIL_VALID] = float(self.valid_at or max_attempts + 1)
        if self.syntax is not None:
            found[Kpi.SYNTAX_AT_N] = float(self.syntax[1])
        if self.semantic is not None:
            found[Kpi.SEMANTIC_AT_N] = float(self.semantic[1])
        return found


def read_event(raw: Mapping[str, object], max_attempts: int) -> ScorecardEvent:
    """An event of a cycle's file.

    Raises:
        FieldError: For one that contradicts itself.
    """
    names = ("task", "attempts", "valid_at", "stalled", "syntax", "semantic", "tokens")
    check_keys(raw, (*names, "reasons", "answers"))
    attempts = take_count(raw, "attempts", lowest=1, highest=max_attempts)
    valid_at = None
    if raw["valid_at"] is not None:
        valid_at = take_count(raw, "valid_at", lowest=attempts, highest=attempts)
    reasons, answers = raw["reasons"], raw["answers"]
    if not isinstance(reasons, list) or not isinstance(answers, list):
        message = "reasons or answers is no list"
        raise FieldError(message)
    if len(reasons) != attempts or len(answers) != attempts or bool(reasons[-1]) == bool(valid_at):
        message = "reasons and answers are not those of its attempts"
        raise FieldError(message)
    return ScorecardEvent(
        task_id=take_name(raw, "task"),
        attempts=attempts,
        valid_at=valid_at,
        stalled=take(raw, "stalled", bool),
        syntax=_pair(raw, "syntax"),
        semantic=_pair(raw, "semantic"),
        tokens=take_count(raw, "tokens"),
        reasons=tuple(tuple(map(str, each)) for each in reasons),
        answers=tuple(map(str, answers)),
    )


def _pair(raw: Mapping[str, object], name: str) -> tuple[bool, bool] | None:
    value = raw[name]
    if value is None:
        return None
    if not isinstance(value, list) or [type(each) for each in value] != [bool, bool]:
        message = f"{name} is no pair of truth values"
        raise FieldError(message)
    return value[0], value[1]


def kpis_of(events: Sequence[ScorecardEvent], max_attempts: int) -> dict[Kpi, Rate]:
    """The KPIs of one backend; one that no task has a check for is absent."""
    values = [event.values(max_attempts) for event in events]
    found: dict[Kpi, Rate] = {}
    for kpi in Kpi:
        held = [each[kpi] for each in values if kpi in each]
        if held:
            found[kpi] = rate_of(held) if kpi.is_share else _mean(held)
    return found


def _mean(values: Sequence[float]) -> Rate:
    spread = mean_difference(values)
    return Rate(fmean(values), spread.low, spread.high, len(values))


def gains_of(
    candidate: Sequence[ScorecardEvent], reference: Sequence[ScorecardEvent], max_attempts: int
) -> dict[Kpi, list[float]]:
    """How much better the candidate did, task by task: above 0 is better, as a share.

    Tries count as a share of the attempts that there are.

    Raises:
        ValueError: When the two are not about the same tasks in the same order.
    """
    if [each.task_id for each in candidate] != [each.task_id for each in reference]:
        message = "differences need the same tasks"
        raise ValueError(message)
    gains: dict[Kpi, list[float]] = {}
    for ours, theirs in zip(candidate, reference, strict=True):
        before = theirs.values(max_attempts)
        for kpi, value in ours.values(max_attempts).items():
            if kpi not in before:
                continue
            gain = before[kpi] - value if kpi.less_is_better else value - before[kpi]
            gains.setdefault(kpi, []).append(gain if kpi.is_share else gain / max_attempts)
    return gains
