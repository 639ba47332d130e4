"""Options of a command, generated from the settings of its requests.

A setting's flag, environment variable and config key share one parser, so that a value means the
same everywhere and a bad one gives the same message.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from vox_cli import flags, value_parsers
from vox_cli.command_table import ENVIRONMENT_PREFIX
from vox_populi.contract.setting import Setting, settings_of

_METAVARS: dict[type, str] = {int: "N", float: "X", Path: "DIR", str: "TEXT"}


def takes_settings(*requests: type) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add an option for each setting of these requests to a command, after its required parameters.

    The command finds their values in its context.
    """

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        own = [
            each.replace(annotation=hints[name])
            for name, each in inspect.signature(command).parameters.items()
        ]
        options = [_parameter(each) for request in requests for each in settings_of(request)]

        @wraps(command)
        def with_own_values(**given: Any) -> None:
            command(**{each.name: given[each.name] for each in own})

        required = [each for each in own if each.default is each.empty]
        parameters = [*required, *options, *own[len(required) :]]
        shown: Any = with_own_values
        shown.__signature__ = inspect.Signature(parameters)
        shown.__annotations__ = {each.name: each.annotation for each in parameters}
        return with_own_values

    return with_options


def variable_of(setting: Setting) -> str:
    """The setting's environment variable."""
    return f"{ENVIRONMENT_PREFIX}_{setting.name.upper()}"


def parser_of(setting: Setting) -> Callable[[str], Any]:
    """The parser of a setting's text; its result is as in `Setting.asked`."""
    if setting.spec.parse is not None:
        parse = setting.spec.parse
        return value_parsers.contract_word(lambda text: setting.asked(parse(text)))
    if issubclass(setting.kind, StrEnum):
        return value_parsers.one_of(setting.kind, setting.spec.words)
    # Most ranges are for the request to check, which reports all that is wrong with it together.
    allowed = setting.spec.allowed if setting.spec.refused_at_once else None
    if setting.kind is int:
        return value_parsers.whole_number(allowed)
    return value_parsers.number(allowed) if setting.kind is float else _PARSERS[setting.kind]


_PARSERS: dict[type, Callable[[str], Any]] = {
    bool: value_parsers.truth,
    Path: value_parsers.path,
    str: value_parsers.any_text,
}


def _parameter(setting: Setting) -> inspect.Parameter:
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=None,
        annotation=_option(setting),
    )


def _option(setting: Setting) -> Any:
    spec = setting.spec
    if setting.kind is bool:
        names = f"{setting.flag}/{setting.off_flag}"
        return Annotated[bool | None, flags.toggle(spec.help, names)]
    if setting.is_repeated:
        return Annotated[list[Path] | None, flags.repeated_path(spec.help, metavar_of(setting))]
    option = flags.value(
        spec.help, parser_of(setting), metavar_of(setting), default_text(setting) or None
    )
    return Annotated[object | None, option]


def metavar_of(setting: Setting) -> str:
    """The placeholder for a value in the help."""
    if setting.spec.metavar is not None:
        return setting.spec.metavar
    if issubclass(setting.kind, StrEnum):
        return "|".join(setting.kind)
    return _METAVARS[setting.kind]


def default_text(setting: Setting) -> str:
    """The default as shown in the help; empty if there is none."""
    if setting.spec.default_text is not None:
        return setting.spec.default_text
    if setting.default is MISSING or setting.is_repeated:
        return ""
    asked = setting.asked(setting.default)
    if asked is None:
        return ""
    return f"{asked:g}" if isinstance(asked, float) else str(asked)
