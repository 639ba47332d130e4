"""Gates: limits that shares of rows or tokens must keep."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vox_populi.operator_messages import row_checks as say
from vox_tensor.errors import Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One limit and what was measured."""

    flag: str
    limit: float | None
    """`None`: it is not checked."""
    value: float
    found: str
    """The measurement as the beginning of a sentence."""
    fix: str
    is_floor: bool = False
    """Whether the value must be at least the limit, not at most."""

    @property
    def ok(self) -> bool:
        """Whether the limit is kept."""
        if self.limit is None:
            return True
        return self.value >= self.limit if self.is_floor else self.value <= self.limit

    def as_json(self) -> dict[str, object]:
        """One entry of `gates`."""
        return {
            "flag": self.flag,
            "limit": self.limit,
            "value": round(self.value, 6),
            "ok": self.ok,
        }


def flag_of(name: str) -> str:
    """The flag of a field with a limit."""
    return f"--{name.replace('_', '-')}"


def missed(gates: Iterable[Gate], where: str) -> tuple[Problem, ...]:
    """A problem for each limit that is not kept."""
    return tuple(_problem(gate, where) for gate in gates if not gate.ok)


def _problem(gate: Gate, where: str) -> Problem:
    assert gate.limit is not None, "a gate without a limit is kept"
    sentence = say.share_below if gate.is_floor else say.share_above
    return sentence(where, gate.found, gate.flag, gate.limit, gate.fix)
