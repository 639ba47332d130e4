"""What can go wrong, as data: a problem has a code, a cause, a place and a fix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self

from vox_tensor.visible_text import one_line


class FailureKind(StrEnum):
    """The kind of failure; `vox_cli.exit_codes` maps each to an exit code."""

    USAGE = "usage"
    REFUSED = "refused"
    RUN_FAILED = "run_failed"
    ENVIRONMENT = "environment"
    GATE_MISSED = "gate_missed"
    MISSING_EXTRA = "missing_extra"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, worded as it is shown to the operator."""

    code: str
    """Stable identifier such as `MENS-D003`; docs list it, tests match it."""
    what: str
    fix: str
    """An instruction that can be followed or pasted."""
    where: str | None = None
    """File, `file:line`, tensor name or flag."""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return one_line(f"[{self.code}] {place}{self.what} {self.fix}")

    def at(self, where: str) -> Self:
        """The same problem in a place; message modules hold those without other details."""
        return replace(self, where=where)

    def as_json(self) -> dict[str, object]:
        """The fields that `--json` prints for a failure."""
        return {"code": self.code, "what": self.what, "where": self.where, "fix": self.fix}


class VoxError(Exception):
    """A failure the operator can act on; holds every problem found, not only the first.

    Raised for bad input, a contradiction or the machine's state. Misuse of a function by
    its caller raises `ValueError` or `TypeError` instead; our own bugs are `assert`.
    """

    kind: FailureKind = FailureKind.REFUSED

    def __init__(self, *problems: Problem) -> None:
        if not problems:
            message = "VoxError needs at least one problem"
            raise ValueError(message)
        self.problems = problems
        super().__init__(*problems)

    def __str__(self) -> str:
        # Made when it is read: a file may have a million bad rows, of which 20 are shown.
        return "\n".join(str(problem) for problem in self.problems)


class DataError(VoxError):
    """Rows, tokenizer or template files that cannot be used."""


def cause(error: OSError) -> str:
    """The system's own reason for a failure."""
    return error.strerror or str(error) or type(error).__name__
