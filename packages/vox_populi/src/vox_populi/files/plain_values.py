"""Frozen values of our own classes as JSON values and back, for another process of the same code.

No format for storage: names and types are those of the classes as they are now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

ValueT = TypeVar("ValueT")


def as_plain(value: object) -> object:
    """A value as JSON values.

    Raises:
        TypeError: For a value that is none of the kinds that `of_plain` reads.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: as_plain(getattr(value, each.name)) for each in _kept(type(value))}
    if isinstance(value, Mapping):
        return {str(key): as_plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [as_plain(each) for each in value]
    message = f"{type(value).__name__} has no plain form"
    raise TypeError(message)


def of_plain(kind: type[ValueT], plain: object) -> ValueT:
    """The value of a class that `as_plain` made these JSON values of."""
    value: ValueT = _of(kind, plain)
    return value


def _of(kind: Any, plain: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if plain is None:
            return None
        return _of(next(each for each in arguments if each is not type(None)), plain)
    if origin is tuple:
        kinds = arguments if arguments[-1] is not Ellipsis else arguments[:1] * len(plain)
        return tuple(_of(each, part) for each, part in zip(kinds, plain, strict=True))
    if origin is Counter:
        return Counter({arguments[0](key): count for key, count in plain.items()})
    if origin is not None and issubclass(origin, Mapping):
        return {key: _of(arguments[1], each) for key, each in plain.items()}
    if is_dataclass(kind):
        return _instance(kind, plain)
    if kind is datetime:
        return datetime.fromisoformat(plain)
    if kind is object or kind is Any:
        return plain
    return kind(plain)


def _instance(kind: Any, plain: Mapping[str, Any]) -> Any:
    hints = _hints(kind)
    return kind(**{each.name: _of(hints[each.name], plain[each.name]) for each in _kept(kind)})


def _kept(kind: Any) -> list[Any]:
    return [each for each in fields(kind) if each.init]


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
