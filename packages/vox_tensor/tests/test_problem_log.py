from __future__ import annotations

from vox_tensor.errors import Problem
from vox_tensor.problem_log import MAX_PROBLEMS, MAX_RANGES, FoldedProblem, ProblemLog


def problems(count: int, code: str = "MENS-D001") -> list[Problem]:
    return [Problem(code=code, what=f"w{i}", fix="f", where=f"f:{i}") for i in range(count)]


def test_up_to_the_cap_nothing_is_added() -> None:
    log = ProblemLog("f")
    assert log.shown() == ()
    log.add(problems(MAX_PROBLEMS))
    assert log.shown() == tuple(problems(MAX_PROBLEMS))


def test_beyond_the_cap_problems_are_counted() -> None:
    log = ProblemLog("f")
    for problem in problems(MAX_PROBLEMS + 5):
        log.add([problem])
    log.add(problems(2, "MENS-D002"))
    shown = log.shown()
    assert shown[:-1] == tuple(problems(MAX_PROBLEMS))
    assert "7 more" in shown[-1].what
    assert len(log) == MAX_PROBLEMS + 7
    assert log.by_code["MENS-D002"] == 2


def log_of(lines: list[int]) -> ProblemLog:
    log = ProblemLog("f")
    for line in lines:
        log.add([Problem(code="MENS-D001", what="w", fix="x", where=f"f:{line}")])
    return log


def test_equal_problems_are_one_with_its_lines() -> None:
    log = log_of([1, 2, 3, 5, 9, 10])
    log.add([Problem(code="MENS-D001", what="w", fix="x", where="g:11")])
    log.add([Problem(code="MENS-D001", what="other", fix="x", where="f:12")])
    folded, of_another_file, of_another_kind = log.shown()
    assert folded.where == "f:1-3,5,9-10"
    assert folded.as_json() == {
        "code": "MENS-D001",
        "what": "w",
        "fix": "x",
        "where": "f:1-3,5,9-10",
        "count": 6,
        "lines": [[1, 3], [5, 5], [9, 10]],
    }
    assert (of_another_file.where, of_another_kind.where) == ("g:11", "f:12")
    assert "count" not in of_another_kind.as_json()
    assert len(log) == 8


def test_lines_are_named_up_to_a_cap_and_counted_beyond() -> None:
    lines = list(range(1, 1001, 2))
    (folded,) = log_of(lines).shown()
    assert isinstance(folded, FoldedProblem)
    assert folded.count == len(lines)
    assert len(folded.lines) == MAX_RANGES
    assert folded.where == f"f:1,3,5,7,9,11,13,15,17,19 and {len(lines) - MAX_RANGES} more"


def test_a_range_after_the_cap_does_not_lengthen_the_last_one_named() -> None:
    (folded,) = log_of([*range(1, 21, 2), 30, 31, 32]).shown()
    assert isinstance(folded, FoldedProblem)
    assert folded.lines[-1] == (19, 19)
    assert folded.where is not None
    assert folded.where.endswith("19 and 3 more")


def test_places_that_are_not_lines_stay_as_they_are() -> None:
    log = ProblemLog("f")
    for where in ("f", "f", None):
        log.add([Problem(code="MENS-D001", what="w", fix="x", where=where)])
    assert [problem.where for problem in log.shown()] == ["f", None]
    assert len(log) == 3


def test_folded_and_hidden_problems_add_up() -> None:
    log = log_of([1, 2, 3])
    log.add(problems(MAX_PROBLEMS + 4))
    shown = log.shown()
    assert len(shown) == MAX_PROBLEMS + 1
    assert "5 more" in shown[-1].what


def test_memory_does_not_grow_with_the_problems() -> None:
    log = log_of(list(range(1, 200_001, 2)))
    (group,) = log._groups.values()
    assert len(group.ranges) == MAX_RANGES + 1
    assert group.count == 100_000
