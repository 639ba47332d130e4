"""Checks of rows before training (MENS-D210 to D229): previews, the mask, a corpus."""

from __future__ import annotations

from vox_tensor.errors import Problem


def no_such_row(where: str, row: int, rows: int) -> Problem:
    """A row was requested by a number beyond the last."""
    return Problem(
        code="MENS-D210",
        what=f"there is no row {row:,}: training uses {rows:,} rows of this file.",
        fix=f"Pass --row from 1 to {rows}.",
        where=where,
    )


def line_has_no_row(where: str, line: int) -> Problem:
    """A row was requested by a line that training does not use."""
    return Problem(
        code="MENS-D211",
        what=f"training uses no row on line {line:,}.",
        fix="Pass the line of another row; --min-rating and --context-filter leave rows out.",
        where=where,
    )
