"""A policy: which rates a report must reach, and how much it may lose against a baseline.

`schemas/eval-policy.schema.json` says the same; tests hold the two to each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from vox_populi.errors import ConfigError
from vox_populi.evals.eval_report import ALL_TASKS
from vox_populi.files.json_fields import (
    FieldError,
    check_keys,
    inside,
    take,
    take_member,
    take_name,
    take_number,
)
from vox_populi.operator_messages import evals as say

_LIMITS = ("min", "max", "max_drop", "max_rise")


class Bound(StrEnum):
    """Which number of a rate is held to `min` and `max`."""

    VALUE = "value"
    LOW = "low"
    HIGH = "high"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRule:
    """What one rate must meet."""

    metric: str
    group: str = ALL_TASKS
    """`all`, `source:NAME` or `tag:NAME`."""
    bound: Bound = Bound.VALUE
    least: float | None = None
    most: float | None = None
    max_drop: float | None = None
    """How far it may fall below the baseline's."""
    max_rise: float | None = None
    """How far it may rise above the baseline's."""
    block: bool = True
    """Whether missing it is a miss of the whole policy."""

    @property
    def name(self) -> str:
        """Its name in receipts and messages."""
        return self.metric if self.group == ALL_TASKS else f"{self.metric} of {self.group}"

    @property
    def needs_baseline(self) -> bool:
        """Whether it compares with a baseline."""
        return self.max_drop is not None or self.max_rise is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """The rules that a report must meet."""

    rules: tuple[GateRule, ...]
    tasks: str | None = None
    """Digest of the tasks that reports must be about."""


def parse_policy(document: object, where: str) -> GatePolicy:
    """The policy of a document.

    Raises:
        ConfigError: For an unknown key, a rule without a limit, or no rule that blocks: nothing in
            it is ever ignored.
    """
    try:
        if not isinstance(document, Mapping):
            message = "it is no object with keys"
            raise FieldError(message)
        check_keys(document, ("gates",), ("tasks",))
        gates = document["gates"]
        if not isinstance(gates, list):
            message = "gates is no list"
            raise FieldError(message)
        rules = tuple(_named_rule(number, raw) for number, raw in enumerate(gates))
        if not any(rule.block for rule in rules):
            message = "no gate blocks, so nothing would be decided"
            raise FieldError(message)
        tasks = take_name(document, "tasks") if "tasks" in document else None
    except FieldError as error:
        raise ConfigError(say.policy_malformed(str(error)).at(where)) from None
    return GatePolicy(rules=rules, tasks=tasks)


def _named_rule(number: int, raw: object) -> GateRule:
    with inside(f"gates[{number}]"):
        if not isinstance(raw, Mapping):
            message = "it is no object with keys"
            raise FieldError(message)
        return _rule(raw)


def _rule(raw: Mapping[str, object]) -> GateRule:
    check_keys(raw, ("metric",), ("group", "bound", "block", *_LIMITS))
    if not any(name in raw for name in _LIMITS):
        message = f"it has none of {', '.join(_LIMITS)}"
        raise FieldError(message)
    limits = {name: _share(raw, name) for name in _LIMITS}
    return GateRule(
        metric=take_name(raw, "metric"),
        group=take_name(raw, "group") if "group" in raw else ALL_TASKS,
        bound=take_member(raw, "bound", Bound) if "bound" in raw else Bound.VALUE,
        least=limits["min"],
        most=limits["max"],
        max_drop=limits["max_drop"],
        max_rise=limits["max_rise"],
        block=take(raw, "block", bool) if "block" in raw else True,
    )


def _share(raw: Mapping[str, object], name: str) -> float | None:
    if name not in raw:
        return None
    value = take_number(raw, name)
    if not 0 <= value <= 1:
        message = f"{name} is not from 0 to 1: rates are shares, not percent"
        raise FieldError(message)
    return value
