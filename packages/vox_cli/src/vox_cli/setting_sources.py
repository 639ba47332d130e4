"""The source of each setting of a command: flag, environment, file, preset or default."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import typer

from vox_cli.config_file import ConfigFile, ConfigValue
from vox_cli.name_hints import setting_hint
from vox_cli.refused_value import ValueRefusedError
from vox_cli.request_options import parser_of, variable_of
from vox_populi.contract.setting import Setting
from vox_populi.errors import ConfigError
from vox_populi.operator_messages import usage as say
from vox_tensor.errors import Problem


class Source(StrEnum):
    """The sources of a setting, from the strongest to the weakest."""

    FLAG = "flag"
    ENV = "env"
    FILE = "file"
    PRESET = "preset"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Chosen:
    """A setting's value and its source."""

    value: object
    source: Source
    origin: str | None = None
    """The flag, the variable, file and line, or the name of the preset."""
    note: str | None = None
    """What the operator should know about the choice."""


def choose_given(
    settings: Collection[Setting], context: typer.Context, file: ConfigFile | None
) -> dict[str, Chosen]:
    """The settings that a flag, the environment or the file gives; the strongest source wins.

    Raises:
        ConfigError: With every unknown key and unusable value of the file.
    """
    chosen = _from_file(settings, file) if file is not None else {}
    for setting in settings:
        source = context.get_parameter_source(setting.name)
        value = context.params.get(setting.name)
        value = tuple(value) if setting.is_repeated and isinstance(value, list) else value
        if source is not None and source.name == "COMMANDLINE":
            chosen[setting.name] = Chosen(value, Source.FLAG, setting.flag)
        elif source is not None and source.name == "ENVIRONMENT":
            chosen[setting.name] = Chosen(value, Source.ENV, variable_of(setting))
    return chosen


def filled(
    given: Mapping[str, Chosen], weaker: Mapping[str, object], source: Source, origin: str | None
) -> dict[str, Chosen]:
    """The given settings, completed from a weaker source."""
    return {name: Chosen(value, source, origin) for name, value in weaker.items()} | dict(given)


def _from_file(settings: Collection[Setting], file: ConfigFile) -> dict[str, Chosen]:
    by_name = {setting.name: setting for setting in settings}
    chosen: dict[str, Chosen] = {}
    problems: list[Problem] = []
    for key, entry in file.values.items():
        if key not in by_name:
            problems.append(say.setting_unknown(key, setting_hint(key, by_name)).at(entry.where))
        elif entry.text is None and not by_name[key].takes_null:
            problems.append(say.config_value_refused(key, "a value, not null").at(entry.where))
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
    """The parsed value; relative paths are relative to the folder of their file."""
    if entry.text is None:
        return None
    parse = parser_of(setting)
    if setting.is_repeated:
        return tuple(_in_folder(parse(item), folder) for item in entry.items)
    return _in_folder(parse(entry.text), folder)


def _in_folder(value: object, folder: Path) -> object:
    return folder / value if isinstance(value, Path) else value
