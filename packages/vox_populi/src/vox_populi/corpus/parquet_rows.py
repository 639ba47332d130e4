"""Rows in the layout `messages` as a Parquet file. Needs the extra `parquet`.

| Column | Content |
|---|---|
| `messages` | a list of structs with `role`, `content`, and the other keys that some message has |
| `text` | the text of a row without turns |
| `tools` | definitions of tools, as JSON |
| a column per key | metadata whose values all have one type; labels as text if they have several |
| `vox_extra` | everything else about the row, as a JSON object |

The columns are found in a first pass; rows are written in groups, so memory is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vox_populi import extras
from vox_populi.data.row_labels import label_text

EXTRA_COLUMN = "vox_extra"
"""Column for what has no column of its own, as a JSON object."""
_LABELS = ("rating", "category", "lane", "source")
_TURN_TEXTS = ("role", "content", "name", "tool_call_id", "reasoning_content")
_TURN_KEYS = (*_TURN_TEXTS, "weight", "tool_calls")
_ROW_KEYS = ("messages", "text", "tools")
_MAX_COLUMNS = 200
_GROUP_ROWS = 1000
_GROUP_BYTES = 8 * 2**20
_LARGEST_INT = 2**63 - 1
_LARGEST_EXACT = 2**53

Row = Mapping[str, object]


@dataclass(slots=True)
class ParquetColumns:
    """Which columns the rows of a file need."""

    turn_keys: set[str] = field(default_factory=set)
    row_keys: set[str] = field(default_factory=set)
    kinds: dict[str, set[str]] = field(default_factory=dict)
    """Kinds of the values of each metadata key, in the order of their first appearance."""
    counts: dict[str, int] = field(default_factory=dict)
    n_rows: int = 0
    has_rest: bool = False
    """Whether some message, or a key beyond the last column, needs the column for the rest."""

    def add(self, row: Row) -> None:
        """Take a row into account."""
        self.n_rows += 1
        self.row_keys.update(key for key in _ROW_KEYS if key in row)
        for turn in _turns(row):
            self.turn_keys.update(key for key in _TURN_KEYS if key in turn)
            self.has_rest = self.has_rest or bool(_rest_of_turn(turn))
        for key, value in row.items():
            if key in _ROW_KEYS:
                continue
            if key == EXTRA_COLUMN or (key not in self.kinds and len(self.kinds) >= _MAX_COLUMNS):
                self.has_rest = True
                continue
            self.kinds.setdefault(key, set()).add(_kind(value))
            self.counts[key] = self.counts.get(key, 0) + 1

    def types(self) -> dict[str, str]:
        """The type of each column of metadata: `bool_`, `int64`, `float64` or `string`."""
        found = {key: _column_type(key, kinds) for key, kinds in self.kinds.items()}
        return {key: kind for key, kind in found.items() if kind}


def unpacked(row: Row) -> Row:
    """The row as it was before `ParquetRows` wrote it; other rows as they are."""
    packed = row.get(EXTRA_COLUMN)
    if EXTRA_COLUMN not in row or not isinstance(packed, str | None):
        return row
    try:
        rest = json.loads(packed or "{}")
    except (ValueError, RecursionError):
        return row
    if not isinstance(rest, dict):
        return row
    turns = rest.pop("messages", None)
    whole = {key: value for key, value in row.items() if value is not None}
    del whole[EXTRA_COLUMN]
    own = whole.get("messages")
    if isinstance(turns, list) and isinstance(own, list) and len(turns) == len(own):
        whole["messages"] = [{**one, **more} for one, more in zip(own, turns, strict=True)]
    return {**whole, **rest}


class ParquetRows:
    """Writes rows of known columns to an open file.

    Args:
        write: Takes the bytes of the file.
        columns: Those that `ParquetColumns` found for the same rows.

    Raises:
        MissingExtraError: Without the extra.
    """

    def __init__(self, write: Callable[[bytes], None], columns: ParquetColumns) -> None:
        self._arrow: Any = extras.load("pyarrow")
        self._columns = columns
        self._types = columns.types()
        self._schema = self._made_schema()
        parquet: Any = extras.load("pyarrow.parquet")
        sink = self._arrow.PythonFile(_Sink(write), mode="w")
        self._writer = parquet.ParquetWriter(sink, self._schema, store_schema=False)
        self._group: list[dict[str, object]] = []
        self._group_bytes = 0

    def write(self, row: Row) -> None:
        """Add a row."""
        record = self._record(row)
        self._group.append(record)
        self._group_bytes += len(json.dumps(record, ensure_ascii=False))
        if len(self._group) >= _GROUP_ROWS or self._group_bytes >= _GROUP_BYTES:
            self._write_group()

    def close(self) -> None:
        """Write what is left, and the end of the file."""
        if self._group:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        table = self._arrow.Table.from_pylist(self._group, schema=self._schema)
        self._writer.write_table(table)
        self._group, self._group_bytes = [], 0

    def _made_schema(self) -> Any:
        arrow = self._arrow
        text = arrow.string()
        function = arrow.struct([("name", text), ("arguments", text)])
        call = [("id", text), ("type", text), ("function", function)]
        of_turn = dict.fromkeys(_TURN_TEXTS, text)
        of_turn |= {"weight": arrow.int64(), "tool_calls": arrow.list_(arrow.struct(call))}
        turn = [(key, of_turn[key]) for key in _TURN_KEYS if key in self._columns.turn_keys]
        fields = {"text": text, "tools": text}
        if "messages" in self._columns.row_keys:
            fields["messages"] = arrow.list_(arrow.struct(turn))
        own = [(key, fields[key]) for key in _ROW_KEYS if key in self._columns.row_keys]
        made = [(key, getattr(arrow, kind)()) for key, kind in self._types.items()]
        return arrow.schema([*own, *made, *([(EXTRA_COLUMN, text)] if self._has_rest else [])])

    @property
    def _has_rest(self) -> bool:
        """Whether some row has what the columns do not say, or lacks a column."""
        columns = self._columns
        return columns.has_rest or any(
            columns.counts[key] < columns.n_rows or not _is_exact(kinds)
            for key, kinds in columns.kinds.items()
        )

    def _record(self, row: Row) -> dict[str, object]:
        record: dict[str, object] = {}
        rest: dict[str, object] = {}
        if "messages" in row:
            record["messages"] = [_columns_of_turn(turn) for turn in _turns(row)]
            more = [_rest_of_turn(turn) for turn in _turns(row)]
            rest |= {"messages": more} if any(more) else {}
        if "tools" in row:
            record["tools"] = json.dumps(row["tools"], ensure_ascii=False)
        for key, value in row.items():
            column = "string" if key == "text" else self._types.get(key)
            if key in ("messages", "tools"):
                continue
            held = _in_column(value, column)
            if held is not None:
                record[key] = held
            if held is None or held != value:
                rest[key] = value
        if rest:
            record[EXTRA_COLUMN] = json.dumps(rest, ensure_ascii=False)
        return record


class _Sink:
    """What the library needs of a file to write to."""

    closed = False

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write

    def write(self, data: bytes) -> int:
        """Take bytes."""
        self._write(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: the file is flushed when it is whole."""

    def close(self) -> None:
        """Do nothing: the file belongs to somebody else."""


def _turns(row: Row) -> list[dict[str, object]]:
    turns = row.get("messages")
    assert isinstance(turns, list | None), "rows are in the layout of messages"
    return turns or []


def _columns_of_turn(turn: Row) -> dict[str, object]:
    """The keys of a message that have columns; arguments of calls are JSON, as OpenAI has them."""
    texts = (key for key in _TURN_TEXTS if key in turn)
    held: dict[str, object] = {key: turn[key] for key in texts if _is_text(turn[key])}
    if "weight" in turn:
        held["weight"] = turn["weight"]
    calls = turn.get("tool_calls")
    if isinstance(calls, list):
        held["tool_calls"] = [_columns_of_call(call) for call in calls]
    return held


def _columns_of_call(call: dict[str, Any]) -> dict[str, object]:
    arguments = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    function = {"name": call["function"]["name"], "arguments": arguments}
    return {"id": call.get("id"), "type": "function", "function": function}


def _rest_of_turn(turn: Row) -> dict[str, object]:
    return {
        key: value
        for key, value in turn.items()
        if key not in _TURN_KEYS or (key in _TURN_TEXTS and not _is_text(value))
    }


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool_"
        case int() if abs(value) <= _LARGEST_EXACT:
            return "int64"
        case int() if abs(value) <= _LARGEST_INT:
            return "large"
        case float():
            return "float64"
        case str():
            return "string"
    return "other"


def _is_exact(kinds: set[str]) -> bool:
    """Whether a column holds all values of these kinds as they are."""
    return kinds in ({"bool_"}, {"string"}) or kinds <= {"int64", "float64"} or kinds <= _WHOLE


_WHOLE = {"int64", "large"}


def _column_type(key: str, kinds: set[str]) -> str:
    """The type for values of these kinds; empty if they need different ones."""
    present = kinds - {"null"}
    if not present:
        return ""
    if len(present) == 1 and not present & {"large", "other"}:
        return next(iter(present))
    if present <= _WHOLE:
        return "int64"
    if present == {"int64", "float64"}:
        return "float64"
    return "string" if key in _LABELS else ""


def _in_column(value: object, column: str | None) -> object:
    """A value as its column holds it; `None` if it cannot."""
    if not column or value is None:
        return None
    if column == "string":
        return value if isinstance(value, str) else label_text(value)
    if column == "float64":
        assert isinstance(value, int | float), "the column has numbers"
        return float(value)
    return value
