"""Rules for text about what is legacy: rows with such a line are tagged and left out.

The rules that ship are the source system's (`vox_legacy.toml`); decision 0027 describes the format.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi.corpus.line_pattern import LinePattern
from vox_populi.corpus.pattern_syntax import PatternRefusedError
from vox_populi.errors import ConfigError
from vox_populi.operator_messages import corpus_sources as say
from vox_populi.operator_messages.wording import capped
from vox_tensor.errors import Problem, cause
from vox_tensor.regular_file import open_regular, read_whole

LEGACY_KEY = "legacy"
"""Key of a row with the names of the rules that it matches."""
SOURCE_RULES = Path(__file__).with_name("vox_legacy.toml")
"""The source system's rules."""
MAX_RULES = 100
_MAX_BYTES = 256 * 1024
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_MAX_NAME_CHARS = 60
_RULE_KEYS = ("name", "pattern", "unless", "ignore_case", "reason")


@dataclass(frozen=True, slots=True)
class LegacyRule:
    """One rule: a line that the pattern matches is legacy, unless the other pattern does too."""

    name: str
    pattern: LinePattern
    unless: LinePattern | None = None

    def marks_text(self, text: str) -> bool:
        """Whether a line of a text is legacy by this rule."""
        return self.pattern.may_be_in(text) and any(map(self.marks, text.split("\n")))

    def marks(self, line: str) -> bool:
        """Whether a line is legacy by this rule."""
        if not self.pattern.search(line):
            return False
        return self.unless is None or not self.unless.search(line)


@dataclass(frozen=True, slots=True)
class LegacyRules:
    """The rules of a file, in its order."""

    rules: tuple[LegacyRule, ...] = ()

    def marks(self, texts: Iterable[str]) -> tuple[str, ...]:
        """Names of the rules that mark a line of any of the texts."""
        found = tuple(texts)
        return tuple(rule.name for rule in self.rules if any(map(rule.marks_text, found)))


@dataclass(frozen=True, slots=True)
class LegacyFilter:
    """Rules, and what happens to a row that they mark."""

    rules: LegacyRules = field(default_factory=LegacyRules)
    keeps: bool = False
    """Whether such a row is kept, with a tag."""

    def tags(self, texts: Iterable[str]) -> dict[str, object] | None:
        """The tag for a row of these texts, empty for most; `None` if it is left out."""
        marks = self.rules.marks(texts)
        if not marks:
            return {}
        return {LEGACY_KEY: list(marks)} if self.keeps else None


def read_legacy_rules(path: Path) -> LegacyRules:
    """Read a file of rules.

    Raises:
        ConfigError: With everything that is wrong with it, or why it cannot be read.
    """
    where = str(path)
    document = _document(path)
    problems = [
        say.legacy_rules_refused(f"{key} is not a key of a rule file").at(where)
        for key in document
        if key not in ("schema_version", "rule")
    ]
    if document.get("schema_version") != 1:
        problems.append(say.legacy_rules_refused("schema_version must be 1").at(where))
    tables = document.get("rule")
    if not isinstance(tables, list) or not 1 <= len(tables) <= MAX_RULES:
        reason = f"it must have 1 to {MAX_RULES} [[rule]] tables"
        problems.append(say.legacy_rules_refused(reason).at(where))
        tables = []
    rules = [_rule(table, number, where, problems) for number, table in enumerate(tables, 1)]
    found = [rule for rule in rules if rule is not None]
    names = [rule.name for rule in found]
    problems += [
        say.legacy_rules_refused(f"two rules are named {name}").at(where)
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    if problems:
        raise ConfigError(*capped(problems))
    return LegacyRules(tuple(found))


def _document(path: Path) -> dict[str, object]:
    where = str(path)
    try:
        with open_regular(path) as file:
            data = read_whole(file, _MAX_BYTES)
    except OSError as error:
        raise ConfigError(say.legacy_rules_refused(cause(error)).at(where)) from None
    try:
        return tomllib.loads(data.decode("utf-8"))
    except UnicodeDecodeError:
        raise ConfigError(say.legacy_rules_refused("it is not UTF-8 text").at(where)) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reason = f"it is not TOML: {error}"
        raise ConfigError(say.legacy_rules_refused(reason).at(where)) from None


def _rule(table: object, number: int, where: str, problems: list[Problem]) -> LegacyRule | None:
    """A rule, or `None` with its problems added."""
    place = f"{where}: rule {number}"
    if not isinstance(table, Mapping):
        problems.append(say.legacy_rules_refused("it is not a table").at(place))
        return None
    n_before = len(problems)
    problems += [
        say.legacy_rules_refused(f"{key} is not a key of a rule").at(place)
        for key in table
        if key not in _RULE_KEYS
    ]
    name = table.get("name")
    if not isinstance(name, str) or len(name) > _MAX_NAME_CHARS or not _NAME.fullmatch(name):
        reason = "name must be lower-case words joined by hyphens"
        problems.append(say.legacy_rules_refused(reason).at(place))
    ignore_case = table.get("ignore_case", False)
    if not isinstance(ignore_case, bool):
        problems.append(say.legacy_rules_refused("ignore_case must be true or false").at(place))
    if "reason" in table and not isinstance(table["reason"], str):
        problems.append(say.legacy_rules_refused("reason must be text").at(place))
    patterns = [
        _pattern(table, key, place, problems, ignore_case=ignore_case is True)
        for key in ("pattern", "unless")
    ]
    if len(problems) > n_before or patterns[0] is None:
        return None
    return LegacyRule(str(name), patterns[0], patterns[1])


def _pattern(
    table: Mapping[str, object],
    key: str,
    place: str,
    problems: list[Problem],
    *,
    ignore_case: bool,
) -> LinePattern | None:
    text = table.get(key)
    if text is None and key == "unless":
        return None
    if not isinstance(text, str):
        problems.append(say.legacy_rules_refused(f"{key} must be text").at(place))
        return None
    try:
        return LinePattern(text, ignore_case=ignore_case)
    except PatternRefusedError as error:
        problems.append(say.legacy_rules_refused(f"{key}: {error}").at(place))
        return None
