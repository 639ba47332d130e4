"""Definitions of tools and calls of them, in the forms that rows have them.

| What | Forms |
|---|---|
| definitions | `tools` or `functions` of a row; a function, or `function` around one |
| calls | `tool_calls` or `function_call` of a message; the same two forms |
| arguments | an object |

Each of them may also be a string with the JSON of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from vox_populi.data.row_fields import RowFields
from vox_tensor.records import ToolCall

TOOLS_KEYS = ("tools", "functions")
_DEFINITION = "a function with a name"


def row_tools(row: RowFields) -> tuple[Mapping[str, object], ...]:
    """The definitions of a row, each as `{"type": "function", "function": {...}}`."""
    found: dict[str, tuple[Mapping[str, object], ...]] = {}
    for key in TOOLS_KEYS:
        value = row.value.get(key)
        if isinstance(value, str) and not value.strip():
            continue
        if value:
            found[key] = _definitions(row, value, key)
    if len(set(map(repr, found.values()))) > 1:
        row.conflict(*TOOLS_KEYS)
    return next(iter(found.values()), ())


def tool_calls(row: RowFields, value: object, field: str) -> tuple[ToolCall, ...]:
    """The calls under a field of a message.

    Args:
        row: Gets the problems.
        value: A call or a list of calls, perhaps as a JSON string.
        field: Where it is, for messages.
    """
    parsed = row.parsed(value, field, "a call")
    if parsed is None:
        return ()
    calls = parsed if isinstance(parsed, list) else [parsed]
    made = [_call(row, each, f"{field}[{i}]") for i, each in enumerate(calls)]
    return tuple(call for call in made if call is not None)


def _definitions(row: RowFields, value: object, key: str) -> tuple[Mapping[str, object], ...]:
    parsed = row.parsed(value, key, "a list of functions")
    if parsed is None:
        return ()
    if isinstance(parsed, dict):
        parsed = [parsed]
    if not isinstance(parsed, list):
        row.wrong_type(key, "a list of functions", parsed)
        return ()
    made = [_definition(row, each, f"{key}[{i}]") for i, each in enumerate(parsed)]
    return tuple(each for each in made if each is not None)


def _definition(row: RowFields, value: object, field: str) -> Mapping[str, object] | None:
    if not isinstance(value, dict):
        row.wrong_type(field, _DEFINITION, value)
        return None
    function = value.get("function")
    if isinstance(function, dict):
        field = f"{field}.function"
        whole = value if "type" in value else {"type": "function", **value}
    else:
        function, whole = value, {"type": "function", "function": value}
    return whole if _name(row, function, field) else None


def _call(row: RowFields, value: object, field: str) -> ToolCall | None:
    if not isinstance(value, dict):
        row.wrong_type(field, "a call with name and arguments", value)
        return None
    function = value.get("function")
    inner = function if isinstance(function, dict) else value
    name = _name(row, inner, field)
    arguments = _arguments(row, inner, field)
    call_id = value.get("id")
    if not name or arguments is None:
        return None
    return ToolCall(name, arguments, call_id if isinstance(call_id, str) and call_id else None)


def _name(row: RowFields, function: Mapping[str, object], field: str) -> str:
    name = function.get("name")
    if isinstance(name, str) and name.strip():
        return name
    row.blank(f"{field}.name")
    return ""


def _arguments(
    row: RowFields, function: Mapping[str, object], field: str
) -> Mapping[str, object] | None:
    key = "arguments" if "arguments" in function else "parameters"
    value = function.get(key)
    if value is None or (isinstance(value, str) and not value.strip()):
        return {}
    place = f"{field}.{key}"
    problems = len(row.problems)
    parsed = row.parsed(value, place, "an object")
    if isinstance(parsed, dict):
        return parsed
    if len(row.problems) == problems:
        row.wrong_type(place, "an object", parsed)
    return None
