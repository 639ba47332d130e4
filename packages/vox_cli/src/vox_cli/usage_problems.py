"""Turns what the argument parser raises into problems like any other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import typer

from vox_cli.command_table import ENVIRONMENT_PREFIX
from vox_cli.lazy_group import PROGRAM
from vox_cli.value_parsers import ValueRefusedError, nearest
from vox_populi import operator_messages as say
from vox_tensor.errors import Problem

# Typer does not export the base class of its usage errors; of those it exports, `BadParameter`
# derives from it directly in every version.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


def usage_problems(error: Exception) -> tuple[Problem, ...]:
    """The problems that an instance of `USAGE_ERROR` stands for."""
    if isinstance(error, ValueRefusedError):
        return tuple(replace(problem, where=_place(error)) for problem in error.problems)
    return (_usage_problem(error),)


def _usage_problem(error: Exception) -> Problem:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else PROGRAM
    if hasattr(error, "possibilities"):
        option = str(getattr(error, "option_name", ""))
        return say.option_unknown(option, _nearest_option(option, error), command)
    what = " ".join(str(getattr(error, "message", "")).split())
    if isinstance(error, typer.BadParameter):
        # The parser leaves the sentence for a missing value to its own formatting.
        what = what or _formatted(error)
        return say.usage_refused(_sentence(what), _place(error), command)
    return say.usage_refused(_sentence(what), None, command)


def _formatted(error: typer.BadParameter) -> str:
    return " ".join(error.format_message().split())


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _place(error: typer.BadParameter) -> str | None:
    """The flag, argument or environment variable that a value came from."""
    parameter: Any = error.param
    if parameter is None:
        return None
    source = error.ctx.get_parameter_source(parameter.name) if error.ctx is not None else None
    if source is not None and source.name == "ENVIRONMENT":
        return f"{ENVIRONMENT_PREFIX}_{parameter.name.upper()}"
    if parameter.param_type_name == "option":
        return str(max(parameter.opts, key=len))
    return str(parameter.metavar or parameter.name.upper())


def _nearest_option(option: str, error: Exception) -> str | None:
    context = getattr(error, "ctx", None)
    if context is None:
        return None
    known = [name for parameter in context.command.params for name in parameter.opts]
    return nearest(option, known)
