"""Turns the argument parser's exceptions into problems like any other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import typer

from vox_cli.command_table import COMMANDS, ENVIRONMENT_PREFIX, PROGRAM
from vox_cli.name_hints import option_hint
from vox_cli.refused_value import ValueRefusedError
from vox_populi.operator_messages import usage as say
from vox_tensor.errors import Problem

# Typer does not export the base class of its usage errors; of those it exports, `BadParameter`
# derives from it directly in every version.
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


def usage_problems(error: Exception, argv: Sequence[str]) -> tuple[Problem, ...]:
    """The problems in an instance of `USAGE_ERROR` raised for `argv`."""
    if isinstance(error, ValueRefusedError):
        return tuple(replace(problem, where=_place(error)) for problem in error.problems)
    return (_usage_problem(error, argv),)


def _usage_problem(error: Any, argv: Sequence[str]) -> Problem:
    command = _command_path(error, argv)
    if hasattr(error, "possibilities"):
        option = str(getattr(error, "option_name", ""))
        hint = None if error.ctx is None else option_hint(option, error.ctx.command, command)
        return say.option_unknown(hint, command).at(option)
    what = " ".join(str(getattr(error, "message", "")).split())
    if hasattr(error, "option_name"):
        return say.usage_refused(_sentence(what), str(error.option_name), command)
    if hasattr(error, "param_type"):
        return say.usage_refused("this is required.", _place(error), command)
    if isinstance(error, typer.BadParameter):
        return say.usage_refused(_sentence(what), _place(error), command)
    return say.usage_refused(_sentence(what), None, command, _config_hint(what, error, command))


def _command_path(error: Any, argv: Sequence[str]) -> str:
    """The command whose help is relevant; the parser does not always report it."""
    if error.ctx is not None:
        return str(error.ctx.command_path)
    typed = tuple(argv)
    known = [entry.words for entry in COMMANDS if typed[: len(entry.words)] == entry.words]
    return " ".join([PROGRAM, *known[0]] if known else [PROGRAM])


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _place(error: Any) -> str | None:
    """The flag, argument or environment variable that a value came from."""
    parameter, context = error.param, error.ctx
    if parameter is None:
        return None
    source = context.get_parameter_source(parameter.name) if context is not None else None
    if source is not None and source.name == "ENVIRONMENT":
        return f"{ENVIRONMENT_PREFIX}_{parameter.name.upper()}"
    if parameter.param_type_name == "option":
        return str(max(parameter.opts, key=len))
    return str(parameter.metavar or parameter.name.upper())


def _config_hint(what: str, error: Any, command: str) -> str | None:
    """What to do with a YAML file that was passed without a flag, as in other programs."""
    is_file = what.removesuffix(")").lower().endswith((".yaml", ".yml"))
    if not is_file or error.ctx is None:
        return None
    has_flag = any("--config" in parameter.opts for parameter in error.ctx.command.params)
    return say.config_needs_flag(command) if has_flag else None
