from __future__ import annotations

from vox_populi.data.problem_log import ProblemLog
from vox_tensor.errors import Problem
from vox_tensor.jsonl import MAX_PROBLEMS


def problems(count: int, code: str = "MENS-D001") -> list[Problem]:
    return [Problem(code=code, what="w", fix="f", where=f"f:{i}") for i in range(count)]


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
