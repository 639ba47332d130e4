"""Checking a document against a JSON Schema that ships with this package. No torch here.

The part of draft 2020-12 that our schemas use, and nothing else: a keyword that is not below is
a bug of ours, found by a test. Numbers are stricter than the draft in one point: 8.0 is no integer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import vox_populi

Schema = Mapping[str, Any]

_ANNOTATIONS = frozenset({"$schema", "$id", "title", "description", "then"})
_TYPES: Mapping[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}


@cache
def load_schema(name: str) -> Schema:
    """A schema of this package, such as `adapter-meta-v2`."""
    path = Path(vox_populi.__file__).parent / "schemas" / f"{name}.schema.json"
    schema: Schema = json.loads(path.read_text(encoding="utf-8"))
    return schema


def schema_violations(value: object, schema: Schema, at: str = "") -> Iterator[str]:
    """Every point in which a document is not what a schema asks for, each with its place."""
    kind = schema.get("type")
    if kind is not None and not _is_of(value, kind):
        yield f"{_place(at)} is no {kind if isinstance(kind, str) else ' or '.join(kind)}"
        return
    for keyword, rule in schema.items():
        if keyword in _RULES:
            yield from _RULES[keyword](value, rule, schema, at)
        else:
            assert keyword == "type" or keyword in _ANNOTATIONS, keyword


def _is_of(value: object, kind: str | list[str]) -> bool:
    return any(_TYPES[name](value) for name in ([kind] if isinstance(kind, str) else kind))


def _place(at: str) -> str:
    return at or "the document"


def _same(left: object, right: object) -> bool:
    """Equality as JSON has it: `true` is not 1, here not even 1.0 is."""
    return type(left) is type(right) and left == right


def _const(value: object, rule: Any, _schema: Schema, at: str) -> Iterator[str]:
    if not _same(value, rule):
        yield f"{_place(at)} is {value!r}, not {rule!r}"


def _enum(value: object, rule: Any, _schema: Schema, at: str) -> Iterator[str]:
    if not any(_same(value, known) for known in rule):
        yield f"{_place(at)} is {value!r}, not one of {', '.join(map(str, rule))}"


def _limit(
    word: str, keeps: Callable[[Any, Any], bool], measure: Callable[[Any], Any], kind: str
) -> Callable[[object, Any, Schema, str], Iterator[str]]:
    """A rule about a number, or about how much there is of something."""

    def check(value: object, rule: Any, _schema: Schema, at: str) -> Iterator[str]:
        if _TYPES[kind](value) and not keeps(measure(value), rule):
            yield f"{_place(at)} {word} {rule}"

    return check


def _itself(value: Any) -> Any:
    return value


def _pattern(value: object, rule: Any, _schema: Schema, at: str) -> Iterator[str]:
    # Python's `$` also matches before a line feed at the end, the draft's does not.
    pattern = rule.removesuffix("$") + r"\Z" if rule.endswith("$") else rule
    if isinstance(value, str) and re.search(pattern, value) is None:
        yield f"{_place(at)} does not look like {rule}"


def _unique(value: object, rule: Any, _schema: Schema, at: str) -> Iterator[str]:
    texts = [json.dumps(each, sort_keys=True) for each in value] if isinstance(value, list) else []
    if rule and len(set(texts)) != len(texts):
        yield f"{_place(at)} names something twice"


def _items(value: object, rule: Any, _schema: Schema, at: str) -> Iterator[str]:
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from schema_violations(each, rule, f"{at}[{index}]")


def _required(value: object, rule: Any, _schema: Schema, at: str) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (f"{_inside(at, name)} is missing" for name in rule if name not in value)


def _dependent(value: object, rule: Any, _schema: Schema, at: str) -> Iterator[str]:
    if isinstance(value, dict):
        missing = {name: key for key in rule if key in value for name in rule[key]}
        for name, key in missing.items():
            if name not in value:
                yield f"{_inside(at, name)} is missing beside {key}"


def _properties(value: object, rule: Any, _schema: Schema, at: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name in rule.keys() & value.keys():
            yield from schema_violations(value[name], rule[name], _inside(at, name))


def _additional(value: object, rule: Any, schema: Schema, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    for name in [name for name in value if name not in schema.get("properties", {})]:
        if rule is False:
            yield f"{_inside(at, name)} is not known"
        else:
            yield from schema_violations(value[name], rule, _inside(at, name))


def _if(value: object, rule: Any, schema: Schema, at: str) -> Iterator[str]:
    if not any(schema_violations(value, rule, at)):
        yield from schema_violations(value, schema["then"], at)


def _inside(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name


_RULES: Mapping[str, Callable[[object, Any, Schema, str], Iterator[str]]] = {
    "const": _const,
    "enum": _enum,
    "minimum": _limit("is less than", lambda a, b: a >= b, _itself, "number"),
    "exclusiveMinimum": _limit("is not more than", lambda a, b: a > b, _itself, "number"),
    "maximum": _limit("is more than", lambda a, b: a <= b, _itself, "number"),
    "exclusiveMaximum": _limit("is not less than", lambda a, b: a < b, _itself, "number"),
    "minLength": _limit("is shorter than", lambda a, b: a >= b, len, "string"),
    "minItems": _limit("has fewer entries than", lambda a, b: a >= b, len, "array"),
    "minProperties": _limit("has fewer entries than", lambda a, b: a >= b, len, "object"),
    "pattern": _pattern,
    "uniqueItems": _unique,
    "items": _items,
    "required": _required,
    "dependentRequired": _dependent,
    "properties": _properties,
    "additionalProperties": _additional,
    "if": _if,
}
