"""Typed reading of JSON that we wrote ourselves: a wrong field is an error, never a default."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

_T = TypeVar("_T", str, int, bool)
_Member = TypeVar("_Member", bound=StrEnum)


class FieldError(ValueError):
    """A document that does not say what it must; the message names the field."""


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


def take_member(raw: Mapping[str, object], name: str, kind: type[_Member]) -> _Member:
    """A word of a closed set."""
    text = take(raw, name, str)
    try:
        return kind(text)
    except ValueError as error:
        message = f"{name} is {text!r}, not one of {', '.join(kind)}"
        raise FieldError(message) from error


MAX_COUNT = 2**53
"""The largest count of a document: every reader of JSON has it exactly."""


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


_KIND_NAMES: dict[type, str] = {str: "string", int: "whole number", bool: "truth value"}
