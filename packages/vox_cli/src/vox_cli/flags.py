"""How flags are declared: every option that carries a value has a parser of `value_parsers`.

An option with a parser is a *setting*: `setting_sources` finds it in the signature of its command
and also looks for it in the environment and in a config file.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from vox_cli import value_parsers
from vox_cli.console import ColorChoice


def value(
    help_text: str,
    parser: Callable[[str], object],
    metavar: str,
    *names: str,
    default: object = None,
) -> Any:
    """Declare an option that carries a value; `default` is only shown."""
    return typer.Option(
        *names,
        help=help_text if default is None else f"{help_text} [default: {default}]",
        parser=parser,
        metavar=metavar,
        show_default=False,
        show_envvar=False,
    )


def whole(help_text: str, *names: str, at_least: int | None = None, default: object = None) -> Any:
    """Declare an option that takes an integer."""
    parser = value_parsers.whole_number(at_least)
    return value(help_text, parser, "N", *names, default=default)


def choice(help_text: str, kind: type[StrEnum], *names: str, default: object = None) -> Any:
    """Declare an option that takes a member of a closed set."""
    parser = value_parsers.one_of(kind)
    return value(help_text, parser, "|".join(kind), *names, default=default)


def text(help_text: str, metavar: str = "TEXT", *names: str, default: object = None) -> Any:
    """Declare an option that takes text as it is."""
    return value(help_text, value_parsers.any_text, metavar, *names, default=default)


def path(help_text: str, metavar: str, *names: str, default: object = None) -> Any:
    """Declare an option that takes a path; whether it exists is for the pipeline to say."""
    return value(help_text, value_parsers.path, metavar, *names, default=default)


def switch(help_text: str, *names: str) -> Any:
    """Declare a flag without a value."""
    return typer.Option(*names, help=help_text, show_default=False, show_envvar=False)


JsonFlag = Annotated[bool, switch("Print JSON on stdout, also for a failure.", "--json")]
QuietFlag = Annotated[bool, switch("Say nothing but results and errors.", "--quiet", "-q")]
VerboseFlag = Annotated[bool, switch("Say more on stderr.", "--verbose", "-v")]
ColorFlag = Annotated[
    ColorChoice, choice("When to use colours.", ColorChoice, "--color", default="auto")
]
