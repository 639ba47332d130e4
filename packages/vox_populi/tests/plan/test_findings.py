from __future__ import annotations

import pytest

from vox_populi.errors import (
    DataError,
    EnvironmentFailure,
    MissingExtraError,
    ModelError,
    PreflightError,
)
from vox_populi.plan.findings import Findings
from vox_tensor.errors import Problem


def problem(code: str) -> Problem:
    return Problem(code=code, what="what.", fix="fix.")


def raises(error: Exception) -> None:
    raise error


def test_findings_without_problems_raise_nothing() -> None:
    found = Findings()
    assert found.attempt(lambda: 3) == 3
    found.raise_if_any()


def test_an_input_that_must_change_wins_over_the_machine() -> None:
    found = Findings()
    found.blame_environment([problem("E")])
    found.refuse([problem("P")])
    with pytest.raises(PreflightError) as caught:
        found.raise_if_any()
    assert [p.code for p in caught.value.problems] == ["P", "E"]


def test_the_machine_alone_is_an_environment_failure() -> None:
    found = Findings()
    assert found.attempt(lambda: raises(EnvironmentFailure(problem("E")))) is None
    with pytest.raises(EnvironmentFailure):
        found.raise_if_any()


def test_what_the_system_refuses_names_the_file() -> None:
    found = Findings()
    found.attempt(lambda: raises(PermissionError(13, "Permission denied", "rows.jsonl")))
    with pytest.raises(EnvironmentFailure, match=r"rows\.jsonl.*Permission denied"):
        found.raise_if_any()


def test_a_missing_extra_is_not_a_finding() -> None:
    with pytest.raises(MissingExtraError):
        Findings().attempt(lambda: raises(MissingExtraError(problem("X"))))


def test_stages_keep_all_their_problems_once() -> None:
    found = Findings()
    found.attempt(lambda: raises(ModelError(problem("H1"), problem("H2"))))
    found.attempt(lambda: raises(DataError(problem("D"), problem("H1"))))
    with pytest.raises(PreflightError) as caught:
        found.raise_if_any()
    assert [p.code for p in caught.value.problems] == ["H1", "H2", "D"]
