"""Which tests a row of the gate selects, and what is wrong with the tie between the two.

Values in, values out: the plugin in the test process and the command judge by the same function.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests_integration.gate import messages as say
from tests_integration.gate.profiles import GateRow
from vox_tensor.errors import Problem


@dataclass(frozen=True, slots=True)
class CollectedTest:
    """A test as pytest found it."""

    id: str
    """`path/to/test_file.py::test_name[parameters]`, from the root of the workspace."""
    requirements: tuple[str, ...] = ()
    """Rows that it says it proves: `@pytest.mark.requirement("1a")`."""

    @property
    def file(self) -> str:
        """The path part of the id."""
        return self.id.partition("::")[0]

    @property
    def name(self) -> str:
        """The id without parameters: those may repeat anything, also the name of another test."""
        return self.id.partition("[")[0]

    @property
    def function(self) -> str:
        """The name behind the path."""
        return self.name.rpartition("::")[2]


def selected_tests(row: GateRow, tests: Iterable[CollectedTest]) -> tuple[CollectedTest, ...]:
    """Tests in the row's paths whose name contains one of its selectors."""
    return tuple(
        test
        for test in tests
        if _is_in_paths(test, row) and any(part in test.name for part in row.select)
    )


def selection_problems(row: GateRow, tests: Sequence[CollectedTest]) -> tuple[Problem, ...]:
    """What a renamed, moved, unmarked or missing test does to its row."""
    selected = selected_tests(row, tests)
    problems = [
        say.gate_row_selects_nothing(row.id, part, row.paths)
        for part in row.select
        if not any(part in test.name for test in selected)
    ]
    functions = {test.function for test in selected}
    problems += [
        say.gate_row_lacks_test(row.id, name) for name in row.tests if name not in functions
    ]
    marked = [test for test in tests if row.id in test.requirements]
    missed = tuple(dict.fromkeys(test.name for test in marked if test not in selected))
    if missed:
        problems.append(say.gate_mark_not_selected(row.id, missed))
    if selected and not any(test in selected for test in marked):
        problems.append(say.gate_row_has_no_mark(row.id))
    return tuple(problems)


def outermost(paths: Iterable[str]) -> tuple[str, ...]:
    """The paths that are not inside another of them, so that nothing is collected twice."""
    unique = sorted({path.rstrip("/") for path in paths})
    return tuple(
        path for path in unique if not any(path.startswith(f"{other}/") for other in unique)
    )


def _is_in_paths(test: CollectedTest, row: GateRow) -> bool:
    paths = (path.rstrip("/") for path in row.paths)
    return any(test.file == path or test.file.startswith(f"{path}/") for path in paths)
