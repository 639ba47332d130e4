"""Typed reading of JSON that we wrote ourselves: a wrong field is an error, never a default."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import TypeVar

_T = TypeVar("_T", str, int, bool)
_Member = TypeVar("_Member", bound=StrEnum)


class FieldError(ValueError):
    """A document that is not valid; the message has the field."""


def check_keys(
    raw: Mapping[str, object], required: Collection[str], optional: Collection[str] = ()
) -> None:
    """Refuse an object with a missing or unknown key.

    Raises:
        FieldError: With every such key.
    """
    missing = [f"{name} is missing" for name in required if name not in raw]
    unknown = [f"{name} is not known" for name in raw if name not in {*required, *optional}]
    if missing or unknown:
        message = "; ".join(missing + unknown)
        raise FieldError(message)


@contextmanager
def inside(name: str) -> Iterator[None]:
    """Prefix the fields in raised errors with the name of their object."""
    try:
        yield
    except FieldError as error:
        message = f"{name}.{error}"
        raise FieldError(message) from error


def take(raw: Mapping[str, object], name: str, kind: type[_T]) -> _T:
    """The value under a name, of exactly this type."""
    value = raw.get(name)
    # `True` is an int to Python and not to us.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        message = f"{name} is missing or no {_KIND_NAMES[kind]}"
        raise FieldError(message)
    return value


def take_optional(raw: Mapping[str, object], name: str, kind: type[_T]) -> _T | None:
    """Like `take`, but `null` and absence are `None`."""
    return None if raw.get(name) is None else take(raw, name, kind)


def take_present(raw: Mapping[str, object], name: str, kind: type[_T]) -> _T | None:
    """Like `take`, but absence is `None`. `null` is refused."""
    return take(raw, name, kind) if name in raw else None


def take_name(raw: Mapping[str, object], name: str) -> str:
    """A string that is not empty."""
    text = take(raw, name, str)
    if not text:
        message = f"{name} is empty"
        raise FieldError(message)
    return text


def take_one_of(raw: Mapping[str, object], name: str, known: Collection[_T]) -> _T:
    """One of a few values, of the same type as them."""
    value = take(raw, name, type(next(iter(known))))
    if value not in known:
        message = f"{name} is {value!r}, not one of {', '.join(map(str, known))}"
        raise FieldError(message)
    return value


def take_sha256(raw: Mapping[str, object], name: str) -> str:
    """A SHA-256 digest in lower-case hexadecimal."""
    text = take(raw, name, str)
    if re.fullmatch("[0-9a-f]{64}", text) is None:
        message = f"{name} is not a SHA-256 digest"
        raise FieldError(message)
    return text


def take_member(raw: Mapping[str, object], name: str, kind: type[_Member]) -> _Member:
    """A word of a closed set."""
    text = take(raw, name, str)
    try:
        return kind(text)
    except ValueError as error:
        message = f"{name} is {text!r}, not one of {', '.join(kind)}"
        raise FieldError(message) from error


MAX_COUNT = 2**53
"""The largest count in a document, which every JSON parser represents exactly."""


def take_count(
    raw: Mapping[str, object], name: str, *, lowest: int = 0, highest: int = MAX_COUNT
) -> int:
    """A whole number within bounds."""
    value = take(raw, name, int)
    if not lowest <= value <= highest:
        message = f"{name} is not from {lowest} to {highest}"
        raise FieldError(message)
    return value


def take_positive(raw: Mapping[str, object], name: str) -> int:
    """A whole number of at least 1."""
    return take_count(raw, name, lowest=1)


def take_number(raw: Mapping[str, object], name: str) -> float:
    """A number, whole or not, that a float can hold."""
    value = raw.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        message = f"{name} is missing or no number"
        raise FieldError(message)
    try:
        return float(value)
    except OverflowError as error:
        message = f"{name} is too large"
        raise FieldError(message) from error


def take_object(raw: Mapping[str, object], name: str) -> dict[str, object]:
    """A JSON object."""
    value = raw.get(name)
    if not isinstance(value, dict):
        message = f"{name} is missing or no object"
        raise FieldError(message)
    return value


def take_texts(raw: Mapping[str, object], name: str) -> tuple[str, ...]:
    """A list of strings that is not empty."""
    value = raw.get(name)
    if not isinstance(value, list) or not value or not all(isinstance(v, str) for v in value):
        message = f"{name} is missing or no list of strings"
        raise FieldError(message)
    return tuple(value)


def take_names(raw: Mapping[str, object], name: str) -> tuple[str, ...]:
    """A list of different strings, none of them empty."""
    names = take_texts(raw, name)
    if "" in names or len(set(names)) != len(names):
        message = f"{name} has an empty entry or the same one twice"
        raise FieldError(message)
    return names


_KIND_NAMES: dict[type, str] = {str: "string", int: "whole number", bool: "truth value"}
