"""The first problems of a file and a count of the rest: memory does not grow with bad rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from vox_tensor.data_messages import more_problems
from vox_tensor.errors import Problem
from vox_tensor.jsonl import MAX_PROBLEMS


class ProblemLog:
    """Collects what is wrong with one file.

    Args:
        where: Name of the file.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._first: list[Problem] = []
        self.by_code: Counter[str] = Counter()
        """How often each kind of problem was seen, those not kept included."""

    def __len__(self) -> int:
        return self.by_code.total()

    def add(self, problems: Iterable[Problem]) -> None:
        """Count problems, and keep those among the first 20."""
        for problem in problems:
            self.by_code[problem.code] += 1
            if len(self._first) < MAX_PROBLEMS:
                self._first.append(problem)

    def shown(self) -> tuple[Problem, ...]:
        """The first 20, and one that counts the others."""
        hidden = len(self) - len(self._first)
        if not hidden:
            return tuple(self._first)
        return (*self._first, more_problems(hidden, self._where))
