"""Reads a YAML config: settings by name, each with its line, without interpreting them.

The file is composed, never constructed: no YAML tag can create an object, an alias cannot expand
exponentially, and a value is its text as written. So `lr: 2e-4` is a number and
`system_prompt: yes` is text, whereas YAML 1.1 would read a string and a boolean.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from vox_populi.errors import ConfigError
from vox_populi.operator_messages import usage as say
from vox_tensor.errors import Problem, cause
from vox_tensor.regular_file import NotRegularFileError, open_regular, read_whole

MAX_BYTES = 1 << 20
_SCALAR_TAGS = tuple(
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "timestamp")
)
_NULL_TAG = "tag:yaml.org,2002:null"
_LIST_TAG = "tag:yaml.org,2002:seq"


@dataclass(frozen=True, slots=True)
class ConfigValue:
    """One value of a config file."""

    text: str | None
    """Text as written; a list is joined by commas, `null` is `None`."""
    where: str
    """File and line."""
    items: tuple[str, ...] = ()
    """The same one by one: the entries of a list, or the one value."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The contents of a config file."""

    path: Path
    values: Mapping[str, ConfigValue]
    """Values by key, with `-` read as `_`."""


def read_config_file(path: Path, known: Collection[str] | None = None) -> ConfigFile:
    """Read a config file.

    Args:
        path: A YAML file.
        known: Keys whose values must be plain, `None` for all; other keys may have any value and
            count as `null`, because the caller reports unknown settings.

    Raises:
        ConfigError: With every line that is not a setting, or why the file cannot be read.
    """
    root = compose_yaml(path)
    if root is None or root.tag == _NULL_TAG:
        return ConfigFile(path, {})
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(say.CONFIG_NOT_MAPPING.at(str(path)))
    values: dict[str, ConfigValue] = {}
    problems: list[Problem] = []
    first_lines: dict[str, int] = {}
    for key, value, line in _entries(root):
        where = f"{path}:{line}"
        if key in first_lines:
            problems.append(say.config_key_repeated(key, first_lines[key]).at(where))
            continue
        first_lines[key] = line
        try:
            values[key] = ConfigValue(_text_of(value), where, tuple(_items_of(value)))
        except ValueError:
            if known is not None and key not in known:
                values[key] = ConfigValue(None, where)
                continue
            problems.append(
                say.config_value_refused(key, "one value or a list of plain values").at(where)
            )
    if problems:
        raise ConfigError(*problems)
    return ConfigFile(path, values)


def compose_yaml(path: Path) -> yaml.Node | None:
    """The nodes of a YAML file, each with text, tag and place; nothing for an empty file.

    Raises:
        ConfigError: When it cannot be read, or is not YAML.
    """
    text = _read_text(path)
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = str(path) if mark is None else f"{path}:{mark.line + 1}"
        raise ConfigError(say.config_not_yaml(error.problem or "malformed").at(where)) from None
    except (yaml.YAMLError, RecursionError):
        reason = "it has control characters or is nested too deeply"
        raise ConfigError(say.config_not_yaml(reason).at(str(path))) from None
    return node


def _read_text(path: Path) -> str:
    try:
        with open_regular(path) as handle:
            return read_whole(handle, MAX_BYTES).decode("utf-8-sig")
    except NotRegularFileError:
        raise ConfigError(say.config_unreadable("it is not a file").at(str(path))) from None
    except OSError as error:
        raise ConfigError(say.config_unreadable(cause(error)).at(str(path))) from None
    except UnicodeDecodeError:
        raise ConfigError(say.config_unreadable("it is not UTF-8 text").at(str(path))) from None


def _entries(root: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node, int]]:
    for key, value in root.value:
        line = key.start_mark.line + 1
        # A key that is itself a list or a mapping becomes one that no setting has.
        name = key.value if isinstance(key, yaml.ScalarNode) else "?"
        yield name.replace("-", "_"), value, line


def _items_of(node: yaml.Node) -> Iterator[str]:
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    return (text for each in nodes if (text := _text_of(each)) is not None)


def _text_of(node: yaml.Node) -> str | None:
    if isinstance(node, yaml.SequenceNode) and node.tag == _LIST_TAG:
        parts = [_text_of(item) for item in node.value]
        if any(isinstance(item, yaml.SequenceNode) for item in node.value) or None in parts:
            message = "a list must have plain values"
            raise ValueError(message)
        return ",".join(part for part in parts if part is not None)
    if isinstance(node, yaml.ScalarNode) and node.tag in _SCALAR_TAGS:
        return str(node.value)
    if isinstance(node, yaml.ScalarNode) and node.tag == _NULL_TAG:
        return None
    message = "not a plain value"
    raise ValueError(message)
