"""Reading the fields of a row: what is there, what is wrong with it, and where.

Messages about a row never quote it: it may be private.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vox_populi.errors import DataError
from vox_populi.operator_messages import data as say
from vox_populi.operator_messages import rows as say_rows
from vox_tensor.errors import Problem
from vox_tensor.strict_json import parse_json


def json_type(value: object) -> str:
    """JSON's name for the type of a parsed value."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {str: "a string", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object")


class RowFields:
    """A JSON object with its place, and its problems so far."""

    __slots__ = ("place", "problems", "value")

    def __init__(self, value: Mapping[str, object], place: str) -> None:
        self.value = value
        self.place = place
        self.problems: list[Problem] = []

    def text(self, key: str) -> str:
        """A string field; absent, null and blank all give an empty string."""
        found = self.value.get(key)
        if found is None:
            return ""
        if not isinstance(found, str):
            self.wrong_type(key, "a string", found)
            return ""
        return found if found.strip() else ""

    def one_text(self, keys: Sequence[str]) -> str:
        """The one text of fields with the same meaning; that they differ is a problem."""
        found = [(key, text) for key in keys if key in self.value and (text := self.text(key))]
        if not found:
            return ""
        first, text = found[0]
        for key, other in found[1:]:
            if other != text:
                self.conflict(first, key)
        return text

    def parsed(self, value: object, field: str, expected: str) -> object:
        """A value, or what the JSON in it says if it is a string; `None` if that is not JSON."""
        if not isinstance(value, str):
            return value
        try:
            return parse_json(value, "")
        except DataError:
            self.problems.append(say_rows.text_is_not_json(field, expected).at(self.place))
            return None

    def wrong_type(self, field: str, expected: str, found: object) -> None:
        """Record a field of the wrong type, without its value."""
        self.problems.append(say.row_field_type(field, expected, json_type(found)).at(self.place))

    def blank(self, field: str) -> None:
        """Record a required text that is missing or blank."""
        self.problems.append(say.row_field_blank(field).at(self.place))

    def system_conflict(self) -> None:
        """Record a system field that differs from the conversation's system message."""
        self.problems.append(say.SYSTEM_PROMPTS_CONFLICT.at(self.place))

    def conflict(self, one: str, other: str) -> None:
        """Record two fields that mean the same and differ."""
        self.problems.append(say_rows.fields_conflict(one, other).at(self.place))
