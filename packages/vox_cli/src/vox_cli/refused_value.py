"""A value of a flag, an environment variable or a config file that its setting does not accept."""

from __future__ import annotations

import typer

from vox_tensor.errors import Problem


class ValueRefusedError(typer.BadParameter):
    """A value that its setting does not accept; the code that catches it has the setting.

    Typer adds the parameter to its own exceptions, so this is one of them.
    """

    def __init__(self, *problems: Problem) -> None:
        super().__init__(str(problems[0]))
        self.problems = problems
