"""Reads a mix config: YAML in, a `MixConfig` out. Unknown keys are refused, with their line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import yaml

from vox_cli import value_parsers
from vox_cli.config_file import compose_yaml
from vox_cli.refused_value import ValueRefusedError
from vox_populi.corpus.mix_config import DEFAULT_SEED, MAX_SOURCES, MixConfig, MixSource
from vox_populi.corpus.tool_trace import RecordFormat
from vox_populi.errors import ConfigError
from vox_populi.number_ranges import SEED
from vox_populi.operator_messages import corpus as say_corpus
from vox_populi.operator_messages import usage as say_usage
from vox_populi.operator_messages.likeness import nearest
from vox_populi.operator_messages.wording import capped, clipped
from vox_tensor.errors import Problem

SOURCE_KEYS = ("path", "weight", "record_format", "optional", "sample_rate")
CONFIG_KEYS = (
    "sources",
    "output",
    "seed",
    "include_lanes",
    "exclude_lanes",
    "min_rating",
    "dedup",
    "shuffle",
    "legacy_rules",
)
_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = {_TAG + kind for kind in ("str", "int", "float", "bool", "timestamp")}

ValueT = TypeVar("ValueT")


def read_mix_config(path: Path, seed: int | None = None) -> MixConfig:
    """Read a mix config.

    Args:
        path: A YAML file.
        seed: Overrides the file's.

    Raises:
        ConfigError: With everything that is wrong with it, or why it cannot be read.
    """
    root = compose_yaml(path)
    if not isinstance(root, yaml.MappingNode):
        raise ConfigError(say_corpus.mix_key_missing("sources").at(str(path)))
    problems: list[Problem] = []
    fields = _Fields(root, CONFIG_KEYS, path, problems)
    sources = _sources(fields, path, problems)
    output = fields.value("output", value_parsers.path, None)
    written_seed = fields.value("seed", value_parsers.whole_number(SEED), DEFAULT_SEED)
    # Where a source cannot be told, the others still can: all that is wrong comes as one list.
    stand_in = (MixSource(path="-"),)
    try:
        config = MixConfig(
            file=path,
            sources=sources or stand_in,
            output=None if output is None else path.parent / output,
            seed=written_seed if seed is None else seed,
            include_lanes=fields.names("include_lanes"),
            exclude_lanes=fields.names("exclude_lanes"),
            min_rating=fields.value("min_rating", value_parsers.whole_number(), None),
            dedup=fields.value("dedup", value_parsers.truth, False),
            shuffle=fields.value("shuffle", value_parsers.truth, True),
            legacy_rules=fields.value("legacy_rules", value_parsers.any_text, None),
        )
    except ConfigError as error:
        problems += error.problems
        config = None
    if problems or config is None:
        raise ConfigError(*capped(problems))
    return config


def _sources(fields: _Fields, path: Path, problems: list[Problem]) -> tuple[MixSource, ...]:
    node = fields.nodes.get("sources")
    if node is None or _is_null(node):
        problems.append(say_corpus.mix_key_missing("sources").at(str(path)))
        return ()
    where = f"{path}:{node.start_mark.line + 1}"
    if not isinstance(node, yaml.SequenceNode) or not 1 <= len(node.value) <= MAX_SOURCES:
        expected = f"a list of 1 to {MAX_SOURCES} entries, each with a path"
        problems.append(say_corpus.mix_value_refused("sources", expected).at(where))
        return ()
    found = (_source(each, path, problems) for each in node.value)
    return tuple(source for source in found if source is not None)


def _source(node: yaml.Node, path: Path, problems: list[Problem]) -> MixSource | None:
    where = f"{path}:{node.start_mark.line + 1}"
    if not isinstance(node, yaml.MappingNode):
        problems.append(
            say_corpus.mix_value_refused("an entry of sources", "keys such as path").at(where)
        )
        return None
    fields = _Fields(node, SOURCE_KEYS, path, problems)
    has_path = "path" in fields.nodes and not _is_null(fields.nodes["path"])
    if not has_path:
        problems.append(say_corpus.mix_key_missing("path").at(where))
    formats = value_parsers.one_of(RecordFormat)
    source = MixSource(
        path=fields.value("path", value_parsers.any_text, "-") if has_path else "-",
        weight=fields.value("weight", value_parsers.number(), 1.0),
        record_format=fields.value("record_format", formats, RecordFormat.ROWS),
        optional=fields.value("optional", value_parsers.truth, False),
        sample_rate=fields.value("sample_rate", value_parsers.number(), 1.0),
        where=where,
    )
    return source if has_path else None


class _Fields:
    """The entries of one mapping; their problems go to `problems`."""

    def __init__(
        self, node: yaml.MappingNode, known: Sequence[str], path: Path, problems: list[Problem]
    ) -> None:
        self.nodes: dict[str, yaml.Node] = {}
        self._path = path
        self._problems = problems
        first_lines: dict[str, int] = {}
        for key_node, value in node.value:
            line = key_node.start_mark.line + 1
            where = f"{path}:{line}"
            # A key that is itself a list or a mapping becomes one that nothing has.
            name = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            key = name.replace("-", "_")
            if key in first_lines:
                problems.append(say_usage.config_key_repeated(key, first_lines[key]).at(where))
            elif key in known:
                self.nodes[key] = value
            else:
                near = nearest(key, known)
                problems.append(say_corpus.mix_key_unknown(clipped(name), near, known).at(where))
            first_lines.setdefault(key, line)

    def value(self, key: str, parse: Callable[[str], ValueT], default: ValueT) -> ValueT:
        """A plain value, read as a flag of that kind would be; `null` is the default."""
        node = self.nodes.get(key)
        if node is None or _is_null(node):
            return default
        where = f"{self._path}:{node.start_mark.line + 1}"
        text = _plain_text(node)
        if text is None:
            self._problems.append(say_corpus.mix_value_refused(key, "one plain value").at(where))
            return default
        try:
            return parse(text)
        except ValueRefusedError as error:
            place = f"{where}: {key}"
            self._problems += [replace(each, where=place) for each in error.problems]
            return default

    def names(self, key: str) -> tuple[str, ...]:
        """A list of names; a single name is a list of one."""
        node = self.nodes.get(key)
        if node is None or _is_null(node):
            return ()
        entries = node.value if isinstance(node, yaml.SequenceNode) else [node]
        names = [(_plain_text(each) or "").strip() for each in entries]
        if not all(names):
            where = f"{self._path}:{node.start_mark.line + 1}"
            self._problems.append(say_corpus.mix_value_refused(key, "a list of names").at(where))
            return ()
        return tuple(names)


def _is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _TAG + "null"


def _plain_text(node: yaml.Node) -> str | None:
    """A value as written: `yes` is text here, and so is 2e-1."""
    is_plain = isinstance(node, yaml.ScalarNode) and node.tag in _PLAIN_TAGS
    return str(node.value) if is_plain else None
