"""The flags that every command has for its output; the command is given a `Console` instead."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, get_args, get_type_hints

from vox_cli import flags
from vox_cli.console import ColorChoice, Console

_JSON_HELP = "Print JSON on stdout, also on failure."

PreviewConsole = Annotated[
    Console, "Print JSON lines on stdout, one per row; one document with --check or --html."
]
DocumentOrLinesConsole = Annotated[
    Console, "Print JSON on stdout, also on failure; JSON lines with --prompts or --interactive."
]

_QuietFlag = Annotated[bool, flags.switch("Print only results and errors.", "--quiet", "-q")]
_VerboseFlag = Annotated[bool, flags.switch("Print more on stderr.", "--verbose", "-v")]
_ColorFlag = Annotated[ColorChoice, flags.choice("When to use colours.", ColorChoice, "auto")]


def with_output_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameter `console` by the flags that it is made from, as the last ones.

    The help of `--json` is the text in the parameter's annotation, if there is one.
    """
    hints = get_type_hints(command, include_extras=True)
    json_help = [*get_args(hints["console"])[1:], _JSON_HELP][0]
    own = [
        each.replace(annotation=hints[name])
        for name, each in inspect.signature(command).parameters.items()
        if name != "console"
    ]

    @wraps(command)
    def with_console(
        *, json: bool, quiet: bool, verbose: bool, color: ColorChoice, **given: Any
    ) -> None:
        command(console=Console(as_json=json, quiet=quiet, verbose=verbose, color=color), **given)

    parameters = [
        *own,
        _parameter("json", Annotated[bool, flags.switch(json_help, "--json")], default=False),
        _parameter("quiet", _QuietFlag, default=False),
        _parameter("verbose", _VerboseFlag, default=False),
        _parameter("color", _ColorFlag, default=ColorChoice.AUTO),
    ]
    shown: Any = with_console
    shown.__signature__ = inspect.Signature(parameters)
    shown.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_console


def _parameter(name: str, annotation: Any, default: object) -> inspect.Parameter:
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(name, kind, default=default, annotation=annotation)
