"""Declaring flags: every option with a value has a parser from `value_parsers`.

Typer also looks for each option in the environment. The options of `vox mens train` are made from
the settings of its request: `request_options`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import typer

from vox_cli import value_parsers
from vox_populi.number_ranges import NumberRange

KindT = TypeVar("KindT", bound=StrEnum)


def value(
    help_text: str,
    parser: Callable[[str], object],
    metavar: str,
    default: object = None,
    names: tuple[str, ...] = (),
) -> Any:
    """Declare an option with a value.

    Args:
        help_text: One line.
        parser: Converts the typed text to a value.
        metavar: Placeholder for the value in the help.
        default: Only for display; the signature has the real one.
        names: Flags, if they differ from the parameter's name.
    """
    return typer.Option(
        *names,
        help=help_text if default is None else f"{help_text} [default: {default}]",
        parser=parser,
        metavar=metavar,
        show_default=False,
        show_envvar=False,
    )


def whole(help_text: str, allowed: NumberRange | None = None, default: object = None) -> Any:
    """Declare an option that takes an integer; without a range, its receiver checks one."""
    return value(help_text, value_parsers.whole_number(allowed), "N", default)


def real(help_text: str, allowed: NumberRange | None = None, default: object = None) -> Any:
    """Declare an option that takes a finite number; without a range, its receiver checks one."""
    return value(help_text, value_parsers.number(allowed), "X", default)


def choice(
    help_text: str,
    kind: type[KindT],
    default: object = None,
    words: Mapping[str, KindT] | None = None,
) -> Any:
    """Declare an option that takes a member of a closed set, by any of `words` if given."""
    return value(help_text, value_parsers.one_of(kind, words), "|".join(kind), default)


def text(help_text: str, metavar: str = "TEXT", default: object = None) -> Any:
    """Declare an option that takes text as it is."""
    return value(help_text, value_parsers.any_text, metavar, default)


def path(help_text: str, metavar: str, default: object = None) -> Any:
    """Declare an option that takes a path; the pipeline checks whether it exists."""
    return value(help_text, value_parsers.path, metavar, default)


def repeated_path(help_text: str, metavar: str, names: tuple[str, ...] = ()) -> Any:
    """Declare an option for a `list[Path]`, with a path each time it is passed.

    A variable of the environment separates paths as `PATH` does.
    """
    return typer.Option(
        *names,
        help=help_text,
        callback=_as_paths,
        metavar=metavar,
        show_default=False,
        show_envvar=False,
    )


def _as_paths(paths: list[Path] | None) -> list[Path] | None:
    return None if paths is None else [value_parsers.path(str(each)) for each in paths]


def path_argument(help_text: str, metavar: str) -> Any:
    """Declare a path that is passed without a flag."""
    return typer.Argument(help=help_text, metavar=metavar, parser=value_parsers.path)


def toggle(help_text: str, names: str) -> Any:
    """Declare a setting that is on or off, as `--x/--no-x`, for a `bool | None`."""
    return typer.Option(names, help=help_text, show_default=False, show_envvar=False)


def switch(help_text: str, *names: str) -> Any:
    """Declare a flag without a value."""
    return typer.Option(*names, help=help_text, show_default=False, show_envvar=False)
