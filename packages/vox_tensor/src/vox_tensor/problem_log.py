"""Problems of a file for display: equal ones folded, the first 20 shown, the rest counted.

Memory does not grow with the number of problems, and counts are still exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from vox_tensor.data_messages import more_problems
from vox_tensor.errors import Problem

MAX_PROBLEMS = 20
"""Largest number of problems shown per file, each with all of its lines."""
MAX_RANGES = 10
"""Largest number of line ranges shown for one problem."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedProblem(Problem):
    """The same problem on several lines of a file; `where` has file and lines."""

    count: int
    """Number of lines with this problem."""
    lines: tuple[tuple[int, int], ...]
    """First and last line of each range, ascending; only the first ranges are kept."""

    def as_json(self) -> dict[str, object]:
        """The JSON of any problem, plus the number of lines and their ranges."""
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
        """How often each kind of problem was seen, including problems that were not kept."""

    def __len__(self) -> int:
        return self.by_code.total()

    def add(self, problems: Iterable[Problem]) -> None:
        """Count a problem, and keep the first 20 that differ in more than their line."""
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
        """The first 20 problems in order of appearance, and one that counts the rest."""
        shown = tuple(group.problem() for group in self._groups.values())
        hidden = len(self) - sum(group.count for group in self._groups.values())
        return (*shown, more_problems(hidden).at(self._where)) if hidden else shown


def first_problems(problems: Iterable[Problem], where: str) -> tuple[Problem, ...]:
    """The given problems as `ProblemLog` shows them."""
    log = ProblemLog(where)
    log.add(problems)
    return log.shown()


@dataclass(slots=True)
class _Group:
    """Problems that differ in nothing but their line."""

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
        """All of them as one problem; a single problem unchanged."""
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
    """File and line of a problem; any other kind of place is kept as it is."""
    where = problem.where or ""
    file, _, line = where.rpartition(":")
    return (file, int(line)) if file and line.isdecimal() else (where, None)
