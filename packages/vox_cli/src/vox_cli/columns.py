"""Tables of plain text that fit a terminal: the least important columns are left out first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vox_cli.text_width import cells, cut, padded
from vox_tensor.visible_text import one_line

_BETWEEN = "  "


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column with its cells; an empty cell is a value that is not there."""

    name: str
    cells: Sequence[str]
    priority: int
    """0 is never left out; the highest is left out first."""
    is_number: bool = True

    @property
    def width(self) -> int:
        """Terminal columns of its widest cell."""
        return max(cells(one_line(each)) for each in (self.name, *self.cells))


def table_lines(columns: Sequence[Column], room: int | None) -> list[str]:
    """The lines of a table, headed by the names of the columns.

    Args:
        columns: With the same number of cells; one that is empty throughout is left out.
        room: Terminal columns; `None` leaves nothing out.
    """
    shown = [each for each in columns if each.priority == 0 or any(each.cells)]
    while room is not None and _width(shown) > room:
        least = max(shown, key=lambda each: each.priority)
        if least.priority == 0:
            break
        shown.remove(least)
    rows = zip(*([each.name, *each.cells] for each in shown), strict=True)
    lines = [_line(shown, row) for row in rows]
    return lines if room is None else [cut(line, room) for line in lines]


def _width(columns: Sequence[Column]) -> int:
    return sum(each.width for each in columns) + len(_BETWEEN) * (len(columns) - 1)


def _line(columns: Sequence[Column], row: Sequence[str]) -> str:
    parts = (
        padded(one_line(cell), column.width, to_the_right=column.is_number)
        for column, cell in zip(columns, row, strict=True)
    )
    return _BETWEEN.join(parts).rstrip()
