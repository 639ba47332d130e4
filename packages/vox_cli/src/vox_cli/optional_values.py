"""Options whose value may be omitted; Typer has none, so the arguments are completed first.

`--dry-run` becomes `--dry-run=plan` (of `push` it is a switch), `--resume` becomes
`--resume=auto`, and `--from-python` without a folder after it becomes `--from-python=stdlib`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class OptionalValue:
    """An option that may be passed without a value."""

    implied: str
    """Its value in that case."""
    may_be_separate: bool
    """Whether the next argument, if it is not an option, is its value."""
    switch_of: tuple[str, ...] = ()
    """Commands of which it is a flag that never has a value."""


OPTIONAL_VALUES = {
    "--dry-run": OptionalValue("plan", may_be_separate=False, switch_of=("push",)),
    "--resume": OptionalValue("auto", may_be_separate=True),
    "--from-python": OptionalValue("stdlib", may_be_separate=True),
}


def with_optional_values(argv: Sequence[str]) -> list[str]:
    """Fill in every omitted value; everything after `--` stays as it is."""
    head = list(argv[: argv.index("--")]) if "--" in argv else list(argv)
    command = head[1] if len(head) > 1 else ""
    completed = [
        _complete(command, argument, head[i + 1] if i + 1 < len(head) else None)
        for i, argument in enumerate(head)
    ]
    return completed + list(argv[len(head) :])


def _complete(command: str, argument: str, following: str | None) -> str:
    option = OPTIONAL_VALUES.get(argument)
    if option is None or command in option.switch_of:
        return argument
    has_value = following is not None and not following.startswith("-")
    return argument if option.may_be_separate and has_value else f"{argument}={option.implied}"
