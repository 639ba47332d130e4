"""YAML as JSON values, without surprises: `yes` is text, a date is text, and nothing is repeated.

Plain scalars are read as YAML 1.2's JSON schema reads them; whatever else they are is text. Tags,
aliases and merge keys are refused, and so is a key that is written twice.
"""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from vox_cli.config_file import compose_yaml
from vox_populi.errors import ConfigError
from vox_populi.operator_messages import usage as say

_TAG = "tag:yaml.org,2002:"
_PLAIN = {_TAG + kind for kind in ("str", "int", "float", "bool", "null", "timestamp")}
_WORDS = {"null": None, "~": None, "": None, "true": True, "false": False}
_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?")
_MOST_DIGITS = 300


def read_yaml(path: Path) -> object:
    """The value of a YAML or JSON document.

    Raises:
        ConfigError: When it cannot be read or has what is refused here, with the line.
    """
    root = compose_yaml(path)
    return None if root is None else _Reader(path).value(root)


class _Reader:
    """Turns nodes into values; each node once, so an alias cannot make a text explode."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: set[int] = set()

    def value(self, node: yaml.Node) -> object:
        if id(node) in self._seen:
            raise ConfigError(
                say.config_not_yaml("aliases are not read here").at(self._place(node))
            )
        self._seen.add(id(node))
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(each) for each in node.value]
        if isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN:
            return _scalar(node)
        raise ConfigError(say.config_not_yaml("tags are not read here").at(self._place(node)))

    def _mapping(self, node: yaml.MappingNode) -> dict[str, object]:
        found: dict[str, object] = {}
        lines: dict[str, int] = {}
        for key_node, each in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _TAG + "merge":
                reason = "a key must be plain text"
                raise ConfigError(say.config_not_yaml(reason).at(self._place(key_node)))
            key = key_node.value
            if key in found:
                place = self._place(key_node)
                raise ConfigError(say.config_key_repeated(key, lines[key]).at(place))
            lines[key] = key_node.start_mark.line + 1
            found[key] = self.value(each)
        return found

    def _place(self, node: yaml.Node) -> str:
        return f"{self._path}:{node.start_mark.line + 1}"


def _scalar(node: yaml.ScalarNode) -> object:
    text: str = node.value
    if node.style is not None:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _WHOLE.fullmatch(text):
        return int(text)
    if len(text) <= _MOST_DIGITS and _NUMBER.fullmatch(text):
        return float(text)
    return text
