"""What is wrong with a file, for showing: equal problems as one, the first 20, a count of the rest.

Memory does not grow with the problems that are added; counts are exact all the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from vox_tensor.data_messages import more_problems
from vox_tensor.errors import Problem

MAX_PROBLEMS = 20
"""Most problems that are shown of one file, each with all the lines that have it."""
MAX_RANGES = 10
"""Most ranges of lines that are named for one problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedProblem(Problem):
    """The same problem on several lines of a file; `where` names file and lines."""

    count: int
    """How many lines have it."""
    lines: tuple[tuple[int, int], ...]
    """First and last of each range of lines, ascending; those of the first ranges only."""

    def as_json(self) -> dict[str, object]:
        """As for any problem, with the number of lines and their ranges."""
        ranges = [list(each) for each in self.lines]
        # Called by name: a class with slots is made anew, which `super()` does not know of.
        return {**Problem.as_json(self), "count": self.count, "lines": ranges}


class ProblemLog:
    """Collects what is wrong with one file.

    Args:
        where: Name of the file.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._groups: dict[tuple[str, ...], _Group] = {}
        self.by_code: Counter[str] = Counter()
        """How often each kind of problem was seen, those not kept included."""

    def __len__(self) -> int:
        return self.by_code.total()

    def add(self, problems: Iterable[Problem]) -> None:
        """Count problems, and keep the first 20 that differ in more than their line."""
        groups, by_code = self._groups, self.by_code
        for problem in problems:
            by_code[problem.code] += 1
            file, line = _place_of(problem)
            key = (problem.code, problem.what, problem.fix, file)
            group = groups.get(key)
            if group is None and len(groups) < MAX_PROBLEMS:
                group = groups[key] = _Group(problem, file)
            if group is not None:
                group.add(line)

    def shown(self) -> tuple[Problem, ...]:
        """The first 20 in the order they were met, and one that counts the others."""
        shown = tuple(group.problem() for group in self._groups.values())
        hidden = len(self) - sum(group.count for group in self._groups.values())
        return (*shown, more_problems(hidden, self._where)) if hidden else shown


def first_problems(problems: Iterable[Problem], where: str) -> tuple[Problem, ...]:
    """What `ProblemLog` shows of problems."""
    log = ProblemLog(where)
    log.add(problems)
    return log.shown()


@dataclass(slots=True)
class _Group:
    """Problems that differ in their line at most."""

    first: Problem
    file: str
    count: int = 0
    ranges: list[list[int]] = field(default_factory=list)

    def add(self, line: int | None) -> None:
        """Count one more."""
        self.count += 1
        if line is None:
            return
        if self.ranges and self.ranges[-1][1] in (line, line - 1):
            self.ranges[-1][1] = line
        elif len(self.ranges) <= MAX_RANGES:
            self.ranges.append([line, line])

    def problem(self) -> Problem:
        """All of them as one; a problem that stands alone as it is."""
        if self.count == 1 or not self.ranges:
            return self.first
        named = [(first, last) for first, last in self.ranges[:MAX_RANGES]]
        places = ",".join(str(a) if a == b else f"{a}-{b}" for a, b in named)
        more = self.count - sum(last - first + 1 for first, last in named)
        rest = f" and {more:,} more" if len(self.ranges) > MAX_RANGES else ""
        return FoldedProblem(
            code=self.first.code,
            what=self.first.what,
            fix=self.first.fix,
            where=f"{self.file}:{places}{rest}",
            count=self.count,
            lines=tuple(named),
        )


def _place_of(problem: Problem) -> tuple[str, int | None]:
    """File and line of a problem; a place of another kind is taken as it is."""
    where = problem.where or ""
    file, _, line = where.rpartition(":")
    return (file, int(line)) if file and line.isdecimal() else (where, None)
