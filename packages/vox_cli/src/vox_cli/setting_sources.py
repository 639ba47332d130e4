"""Where each setting of a command comes from: flag, environment, file, preset or default.

A command's signature is the list of its settings: every option that has a parser is one, and
every `bool | None`. The parser also reads the environment (Typer does that, under
`ENVIRONMENT_PREFIX`) and the config file, so a new flag is a new setting in all three.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import get_args, get_type_hints

import typer

from vox_cli import value_parsers
from vox_cli.command_table import ENVIRONMENT_PREFIX
from vox_cli.config_file import ConfigFile, ConfigValue
from vox_cli.name_hints import setting_hint
from vox_cli.value_parsers import ValueRefusedError
from vox_populi.errors import ConfigError
from vox_populi.operator_messages import usage as say
from vox_tensor.errors import Problem

_HOW_TO_RUN = frozenset({"config", "color", "dry_run", "resume"})
"""Options with a parser that say how to run a command, not what to do."""


class Source(StrEnum):
    """What won, from the strongest to the weakest."""

    FLAG = "flag"
    ENV = "env"
    FILE = "file"
    PRESET = "preset"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Setting:
    """One thing that can be set."""

    name: str
    """As in a config file, and as the parameter of the command."""
    parse: Callable[[str], object]

    @property
    def flag(self) -> str:
        """As on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """As in the environment."""
        return f"{ENVIRONMENT_PREFIX}_{self.name.upper()}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A setting's value and who said so."""

    value: object
    source: Source
    origin: str | None = None
    """The flag, the variable, the file and line, or the name of the preset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRules:
    """What a config file may say, beyond what the parsers accept."""

    nullable: Collection[str] = ()
    """Settings for which `null` is a value."""


def settings_of(command: Callable[..., object]) -> tuple[Setting, ...]:
    """The settings in a command's signature, in its order."""
    return tuple(_settings(command))


def _settings(command: Callable[..., object]) -> Iterator[Setting]:
    for name, hint in get_type_hints(command, include_extras=True).items():
        if name in _HOW_TO_RUN or not hasattr(hint, "__metadata__"):
            continue
        parser = getattr(hint.__metadata__[0], "parser", None)
        if parser is not None:
            yield Setting(name, parser)
        elif set(get_args(hint.__origin__)) == {bool, type(None)}:
            yield Setting(name, value_parsers.truth)


def choose_given(
    settings: Collection[Setting],
    context: typer.Context,
    file: ConfigFile | None,
    rules: FileRules,
) -> dict[str, Chosen]:
    """The settings that a flag, the environment or the file gives; the strongest source wins.

    Raises:
        ConfigError: With every unknown key and unusable value of the file.
    """
    chosen = _from_file(settings, file, rules) if file is not None else {}
    for setting in settings:
        source = context.get_parameter_source(setting.name)
        value = context.params.get(setting.name)
        if source is not None and source.name == "COMMANDLINE":
            chosen[setting.name] = Chosen(value, Source.FLAG, setting.flag)
        elif source is not None and source.name == "ENVIRONMENT":
            chosen[setting.name] = Chosen(value, Source.ENV, setting.variable)
    return chosen


def filled(
    given: Mapping[str, Chosen], weaker: Mapping[str, object], source: Source, origin: str | None
) -> dict[str, Chosen]:
    """The given settings, and a weaker source's where nothing stronger said anything."""
    return {name: Chosen(value, source, origin) for name, value in weaker.items()} | dict(given)


def _from_file(
    settings: Collection[Setting], file: ConfigFile, rules: FileRules
) -> dict[str, Chosen]:
    by_name = {setting.name: setting for setting in settings}
    chosen: dict[str, Chosen] = {}
    problems: list[Problem] = []
    for key, entry in file.values.items():
        if key not in by_name:
            problems.append(say.setting_unknown(key, setting_hint(key, by_name), entry.where))
        elif entry.text is None and key not in rules.nullable:
            problems.append(say.config_value_refused(key, entry.where, "a value, not null"))
        else:
            try:
                value = _file_value(by_name[key], entry, file.path.parent)
                chosen[key] = Chosen(value, Source.FILE, entry.where)
            except ValueRefusedError as error:
                where = f"{entry.where}: {key}"
                problems += [replace(each, where=where) for each in error.problems]
    if problems:
        raise ConfigError(*problems)
    return chosen


def _file_value(setting: Setting, entry: ConfigValue, folder: Path) -> object:
    """The parsed value; relative paths start at the folder of the file that has them."""
    if entry.text is None:
        return None
    value = setting.parse(entry.text)
    return folder / value if isinstance(value, Path) else value
