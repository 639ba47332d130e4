"""Everything a check found, kept apart by what the operator can do about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from typing import TypeVar

from vox_populi.errors import EnvironmentFailure, MissingExtraError, PreflightError
from vox_populi.operator_messages import environment as say
from vox_tensor.errors import FailureKind, Problem, VoxError, cause

_Value = TypeVar("_Value")


class Findings:
    """Problems in the order found; raised as one error.

    One error has one exit code. Inputs that must change win over the state of the machine:
    exit 5 promises that the same command can succeed once the disk, the permission or the lock
    is dealt with, and it must not promise that while a row is broken.
    """

    def __init__(self) -> None:
        self._refused: list[Problem] = []
        self._environment: list[Problem] = []

    def refuse(self, problems: Iterable[Problem]) -> None:
        """Add a problem of the request or its inputs (exit 3)."""
        self._refused.extend(problems)

    def blame_environment(self, problems: Iterable[Problem]) -> None:
        """Add a problem of disk, permissions or locks (exit 5)."""
        self._environment.extend(problems)

    def take(self, other: Findings, without: Collection[str] = ()) -> None:
        """Add what another check found, except problems with these codes."""
        self._refused += [each for each in other._refused if each.code not in without]
        self._environment += other._environment

    def attempt(self, stage: Callable[[], _Value]) -> _Value | None:
        """Run a stage and collect its problems; `None` if it had any.

        Raises:
            MissingExtraError: As the stage does. It does not concern the inputs.
        """
        try:
            return stage()
        except MissingExtraError:
            raise
        except OSError as error:
            self._environment.append(say.system_refused(_place_of(error), cause(error)))
            return None
        except VoxError as error:
            is_environment = error.kind is FailureKind.ENVIRONMENT
            (self._environment if is_environment else self._refused).extend(error.problems)
            return None

    def raise_if_any(self) -> None:
        """Raise all problems.

        Raises:
            PreflightError: When an input must change; environment problems follow the others.
            EnvironmentFailure: When only the machine is in the way.
        """
        problems = dict.fromkeys((*self._refused, *self._environment))
        if self._refused:
            raise PreflightError(*problems)
        if problems:
            raise EnvironmentFailure(*problems)


def _place_of(error: OSError) -> str | None:
    return None if error.filename is None else os.fsdecode(error.filename)
