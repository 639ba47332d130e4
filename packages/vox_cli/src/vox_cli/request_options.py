"""Options of a command, generated from the settings of its requests.

A command that takes a request has its flags: `def quantize(console: Console, request:
QuantizeRequest)`. A setting's flag, environment variable and config key share one parser, so that
a value means the same everywhere and a bad one gives the same message.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, is_dataclass
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

from vox_cli import flags, value_parsers
from vox_cli.command_table import ENVIRONMENT_PREFIX
from vox_cli.console import Console
from vox_cli.transfer_view import transfer_view
from vox_populi.contract.setting import Setting, build, settings_of
from vox_populi.errors import ConfigError
from vox_populi.operator_messages import usage as say
from vox_populi.pipeline.model_arguments import with_model_folders

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


def with_requests(command: Callable[..., None], typed: str) -> Callable[..., None]:
    """Replace each parameter whose type has settings by their options; it is built from them.

    Args:
        command: A function; its other parameters stay as they are.
        typed: What is typed to call it.
    """
    hints = get_type_hints(command, include_extras=True)
    requests = {name: kind for name, kind in hints.items() if name != "return" and _settings(kind)}
    if not requests:
        return command
    parameters: list[inspect.Parameter] = []
    for name, each in inspect.signature(command).parameters.items():
        if name in requests:
            parameters += [made for s in _settings(requests[name]) for made in _parameters(s)]
        else:
            kind = each.POSITIONAL_OR_KEYWORD
            parameters.append(each.replace(annotation=hints[name], kind=kind))

    @wraps(command)
    def with_built(**given: Any) -> None:
        watcher = transfer_view(given.get("console") or Console())
        built = {
            name: with_model_folders(_built(kind, given, typed), watcher)
            for name, kind in requests.items()
        }
        own = {name: given[name] for name in hints if name in given and name not in built}
        command(**own, **built)

    # An argument that must be passed stands before those that may be.
    parameters.sort(key=lambda each: each.default is not each.empty)
    shown: Any = with_built
    shown.__signature__ = inspect.Signature(parameters)
    shown.__annotations__ = {each.name: each.annotation for each in parameters}
    return with_built


def variable_of(setting: Setting) -> str:
    """The setting's environment variable."""
    return f"{ENVIRONMENT_PREFIX}_{setting.name.upper()}"


def parser_of(setting: Setting, *, at_once: bool = False) -> Callable[[str], Any]:
    """The parser of a setting's text; its result is as in `Setting.asked`.

    Args:
        setting: The setting.
        at_once: Whether it refuses a number out of range, which is otherwise for the request.
    """
    if setting.spec.parse is not None:
        parse = setting.spec.parse
        return value_parsers.contract_word(lambda text: setting.asked(parse(text)))
    if issubclass(setting.kind, StrEnum):
        return value_parsers.one_of(setting.kind, setting.spec.words)
    # Training checks most ranges with the request, and reports all that is wrong with it together.
    allowed = setting.spec.allowed if at_once or setting.spec.refused_at_once else None
    if setting.kind is int:
        return value_parsers.whole_number(allowed)
    return value_parsers.number(allowed) if setting.kind is float else _PARSERS[setting.kind]


_PARSERS: dict[type, Callable[[str], Any]] = {
    bool: value_parsers.truth,
    Path: value_parsers.path,
    str: value_parsers.any_text,
}


def _settings(kind: Any) -> tuple[Setting, ...]:
    return settings_of(kind) if isinstance(kind, type) and is_dataclass(kind) else ()


def _parameter(setting: Setting) -> inspect.Parameter:
    """An option that may be passed, for a command that looks for values in other sources too."""
    spec = setting.spec
    if setting.kind is bool:
        names = f"{setting.flag}/{setting.off_flag}"
        return _named(setting.name, bool | None, flags.toggle(spec.help, names))
    if setting.is_repeated:
        option = flags.repeated_path(spec.help, metavar_of(setting))
        return _named(setting.name, list[Path] | None, option)
    return _named(setting.name, object | None, _option(setting, parser_of(setting)))


def _parameters(setting: Setting) -> Iterator[inspect.Parameter]:
    """The argument and the option of a setting, for a command that takes its request."""
    spec = setting.spec
    has_option = spec.argument is None or bool(spec.flags)
    must = setting.default is MISSING and not (spec.argument and has_option)
    default: Any = inspect.Parameter.empty if must else None
    if spec.argument is not None:
        name = _argument_name(setting)
        kind = list[Path] | None if setting.is_repeated else Path | None
        yield _named(name, kind, flags.path_argument(spec.help, spec.argument), default)
    if not has_option:
        return
    if setting.kind is bool:
        is_off = setting.asked(setting.default) is False
        names = setting.flags if is_off else (f"{setting.flag}/{setting.off_flag}",)
        switch = flags.switch(spec.help, *names)
        yield _named(setting.name, bool, switch, default=not is_off)
    elif setting.is_repeated:
        option = flags.repeated_path(spec.help, metavar_of(setting), setting.flags)
        yield _named(setting.name, list[Path] | None, option, default)
    else:
        option = _option(setting, parser_of(setting, at_once=True))
        yield _named(setting.name, object | None, option, default)


def _argument_name(setting: Setting) -> str:
    return f"{setting.name}_argument" if setting.spec.flags else setting.name


def _built(request: type, given: Mapping[str, Any], typed: str) -> Any:
    values: dict[str, object] = {}
    for each in settings_of(request):
        names = {each.name, _argument_name(each)} if each.spec.argument else {each.name}
        passed = [given[name] for name in names if given.get(name) is not None]
        if len(passed) > 1:
            raise ConfigError(say.sources_conflict((str(each.spec.argument), each.flag)))
        if passed:
            values[each.field] = each.stored(passed[0])
        elif each.default is MISSING:
            place = each.spec.argument or each.flag
            raise ConfigError(say.usage_refused("this is required.", place, typed))
    return build(request, values)


def _named(name: str, kind: Any, declared: Any, default: Any = None) -> inspect.Parameter:
    where = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(name, where, default=default, annotation=Annotated[kind, declared])


def _option(setting: Setting, parser: Callable[[str], Any]) -> Any:
    spec, default = setting.spec, default_text(setting) or None
    option = flags.value(spec.help, parser, metavar_of(setting), default, setting.flags)
    option.hidden = spec.hidden
    return option


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
