"""Files of rows that corpus commands read and write (from MENS-D230)."""

from __future__ import annotations

from collections.abc import Sequence

from vox_tensor.errors import Problem

ROW_FILE_OCCUPIED = Problem(
    code="MENS-D230",
    what="a file of this name exists with different content.",
    fix="Choose another output file, move this one away, or pass --force.",
)
"""A different file exists where rows should go."""


def row_outputs_equal(first: str, second: str) -> Problem:
    """Two outputs of one command are the same file."""
    return Problem(
        code="MENS-D231",
        what=f"{first} and {second} are the same file.",
        fix="Choose a different file for each.",
    )


def split_parts_differ(parts: int, sides: Sequence[str]) -> Problem:
    """The ratio has more or fewer parts than there are outputs."""
    return Problem(
        code="MENS-D232",
        what=f"--ratio has {parts} parts, but the outputs are {', '.join(sides)}.",
        fix=f"Pass {len(sides)} numbers, such as --ratio {'8,1,1' if len(sides) > 2 else '9,1'}.",
    )


def split_side_empty(sides: Sequence[str], groups: int) -> Problem:
    """No group of rows falls on one of the sides."""
    return Problem(
        code="MENS-D233",
        what=f"no rows fall on {' and '.join(sides)}: rows that share a prompt or a group make"
        f" {groups} groups that must stay together.",
        fix="Give that side a larger share of --ratio, choose a --group-by with more values, or"
        " try another --seed.",
    )


def row_output_overlaps(flag: str) -> Problem:
    """An output that is an input, through any link, or is inside a folder that is one."""
    return Problem(
        code="MENS-D235",
        what="the output is one of the inputs, or is inside of one.",
        fix=f"Choose another file for {flag}.",
    )


def layout_cannot_hold(layout: str, what: str) -> Problem:
    """A row that a layout has no form for."""
    return Problem(
        code="MENS-D234",
        what=f"the layout {layout} cannot hold {what}.",
        fix="Convert to messages or parquet, or pass --on-bad-row skip to leave such rows out.",
    )


def note_rows_not_converted(rows: int) -> str:
    """Rows left out because they cannot be used, or held by the layout."""
    return f"{rows:,} rows are left out."


def note_split_rows_skipped(path: str, rows: int) -> str:
    """Rows left out because they cannot be used."""
    return f"{path}: {rows:,} bad rows are left out."


def note_split_rows_ungrouped(key: str, rows: int) -> str:
    """Rows that are grouped by their prompt alone."""
    return f"{rows:,} rows have no {key}; each is only kept with rows of the same prompt."


def note_bad_rows_uncounted(path: str, rows: int) -> str:
    """Rows that cannot be used, which no figure includes."""
    return f"{path}: {rows:,} bad rows are not counted; vox mens corpus validate lists them."
