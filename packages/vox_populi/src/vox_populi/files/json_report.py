"""Dataclasses that are printed or stored as JSON: their fields are the keys, in their order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from vox_populi.files.json_numbers import JsonObject

_SHOWN = "shown"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shown:
    """How a field appears in JSON."""

    key: str | None = None
    digits: int | None = None
    inline: bool = False


class JsonReport:
    """A dataclass with a JSON document; `shown` and `HIDDEN` say which fields differ in it.

    Enums are their values, paths are text, numbers that are not finite are null, and dataclasses
    inside are objects.
    """

    __slots__ = ()

    def as_json(self) -> JsonObject:
        """The document."""
        return json_fields(self)


def shown(key: str | None = None, *, digits: int | None = None, inline: bool = False) -> Any:
    """Metadata of a field that is not simply itself in JSON.

    Args:
        key: Its key, if that is not its name.
        digits: Decimal places that it is rounded to.
        inline: Whether its own keys replace it.
    """
    return {_SHOWN: _Shown(key=key, digits=digits, inline=inline)}


HIDDEN: Mapping[str, None] = {_SHOWN: None}
"""Metadata of a field that is not in the JSON."""


def json_fields(report: object) -> JsonObject:
    """The fields of a dataclass as a JSON object."""
    return dict(_items(report))


def json_value(value: object) -> object:
    """A value of a report as JSON has it; what is JSON already stays as it is."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {json_value(key): json_value(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [json_value(each) for each in value]
    if hasattr(value, "as_json"):
        return value.as_json()
    return json_fields(value) if is_dataclass(value) else value


def _items(report: Any) -> Iterator[tuple[str, object]]:
    for each in fields(report):
        how = _shown_of(each)
        value = getattr(report, each.name)
        if how is None:
            continue
        if how.digits is not None and value is not None:
            value = round(value, how.digits)
        found: Any = json_value(value)
        yield from found.items() if how.inline else [(how.key or each.name, found)]


def _shown_of(each: Field[Any]) -> _Shown | None:
    how: _Shown | None = each.metadata.get(_SHOWN, _Shown())
    return how
