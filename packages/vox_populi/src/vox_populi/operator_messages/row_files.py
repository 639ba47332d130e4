"""Files of rows in any format (MENS-D160 to D179, D247 to D250). No message repeats a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem
from vox_tensor.file_form import FileForm


def packed_file_damaged(form: FileForm) -> Problem:
    """A compressed file that cannot be unpacked to its end."""
    return Problem(
        code="MENS-D160",
        what=f"the file is {form.value}, but is cut off or damaged.",
        fix="Copy or download it again.",
    )


def unpacks_to_too_much(times: int) -> Problem:
    """A file that fills a disk when it is unpacked."""
    return Problem(
        code="MENS-D161",
        what=f"the rows take more than {times} times the size of the file.",
        fix="If that is right, unpack it yourself and pass the result.",
    )


def json_cut_off(element: int) -> Problem:
    """A JSON array without its end."""
    return Problem(
        code="MENS-D162",
        what=f"the JSON ends inside element {element}, or its list is never closed.",
        fix="Write the file again; it may be cut off, or a bracket or quote may be missing.",
    )


JSON_GOES_ON = Problem(
    code="MENS-D163",
    what="there is more text after the end of the JSON list.",
    fix="Write one list, or one JSON object per line.",
)
"""Something after the end of a JSON array."""

ELEMENT_NOT_OBJECT = Problem(
    code="MENS-D164",
    what="the element is not an object.",
    fix='Write each element as {"key": value, ...}.',
)
"""An element of a JSON array that cannot be a row."""


def with_fix_of_row(problem: Problem) -> Problem:
    """A problem of a line of JSON as that of a row in another format."""
    return replace(problem, fix="Correct this row.")


def header_repeats(count: int) -> Problem:
    """Two columns with one name."""
    names = "a name" if count == 1 else f"{count} names"
    return Problem(
        code="MENS-D165",
        what=f"the header has {names} more than once.",
        fix="Rename or remove the extra columns.",
    )


def record_ragged(found: int, expected: int) -> Problem:
    """A row with more or fewer cells than the header."""
    cells = "1 cell" if found == 1 else f"{found} cells"
    return Problem(
        code="MENS-D166",
        what=f"the row has {cells}, but the header has {expected}.",
        fix="Quote cells that contain the delimiter or a line break, or fill in the missing cells.",
    )


RECORD_UNREADABLE = Problem(
    code="MENS-D167",
    what="the quotes of the row are not closed, or text follows a closing quote.",
    fix='Write a quote inside a quoted cell twice: "".',
)
"""A row whose quotes are wrong; with a place if that is the header."""


def cell_not_json(key: str) -> Problem:
    """A cell that must hold a list."""
    return Problem(
        code="MENS-D168",
        what=f"the cell of {key} is not JSON.",
        fix="Write the list with json.dumps; str() writes Python's notation.",
    )


NOT_UTF8 = Problem(
    code="MENS-D169",
    what="the file is not UTF-8.",
    fix="Save it as UTF-8 (in Excel: CSV UTF-8).",
)
"""Text in an encoding that is not known."""


def columns_damaged(form: FileForm) -> Problem:
    """A Parquet or Arrow file that its library refuses."""
    return Problem(
        code="MENS-D170",
        what=f"the file is {form.value}, but is cut off, damaged or of a kind that is not read.",
        fix="Write it again, with pandas or the library datasets.",
    )


def row_too_large(limit: int, where: str | None = None) -> Problem:
    """A row beyond the limit that bounds memory; with a place if no row after it can be read."""
    return Problem(
        code="MENS-D171",
        what=f"the row is longer than {limit} bytes.",
        fix="Split it; in a table, a quote may not be closed.",
        where=where,
    )


VALUE_NOT_JSON = Problem(
    code="MENS-D174",
    what="a value of the row cannot be written as JSON, or is nested too deeply.",
    fix="Write it as text.",
)
"""A value that has no counterpart in JSON."""


def not_rows(kind: str) -> Problem:
    """A file that holds no rows in any format that is read."""
    return Problem(
        code="MENS-D172",
        what=f"this is {kind}, not a file of rows.",
        fix="Pass JSON Lines, a JSON list, CSV, Parquet, Arrow or text (.txt, .md), packed or not.",
    )


def no_temporary_file(reason: str) -> Problem:
    """The disk takes no copy of the rows."""
    return Problem(
        code="MENS-D173",
        what=f"no temporary file for the rows can be written: {reason}.",
        fix="Free disk space, or set TMPDIR to a folder with room for the unpacked rows.",
    )


def folder_ambiguous(names: Sequence[str]) -> Problem:
    """A folder with more than one set of training rows."""
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return Problem(
        code="MENS-D175",
        what=f"it is unclear which of these are the training rows: {shown}.",
        fix="Pass the files you mean with --data, once for each.",
    )


FOLDER_WITHOUT_ROWS = Problem(
    code="MENS-D176",
    what="the folder has no file of rows.",
    fix="Pass a file, or a folder with train.jsonl, train.csv, train.parquet or text files.",
)
"""A folder that was passed as data but has no file of rows."""

DATA_MISSING = Problem(
    code="MENS-D177",
    what="there are no training rows.",
    where="--data",
    fix=(
        "Pass --data FILE or --data-dir DIR, set VOX_MENS_DATA or VOX_MENS_DATA_DIR, or write "
        "`data:` or `data_dir:` in the --config file."
    ),
)
"""A request without rows."""

DATA_GIVEN_TWICE = Problem(
    code="MENS-D178",
    what="--data and --data-dir exclude each other.",
    where="--data-dir",
    fix="Pass the folder with --data too, or omit one of them.",
)
"""A request that names its rows in two ways."""


def config_unclear(names: Sequence[str], where: str) -> Problem:
    """A data set of several configurations, none of which is meant for sure."""
    return Problem(
        code="MENS-D247",
        what=f"the data set has the configurations {clipped(', '.join(names))}, and it is unclear"
        " which one is meant.",
        fix=f"Pass one by its name: --data {where}:NAME.",
        where=where,
    )


def configs_unusable(reason: str) -> Problem:
    """A list of configurations that does not say which files belong to a split."""
    return Problem(
        code="MENS-D248",
        what=f"its list of configurations (`configs:`) cannot be used: {clipped(reason)}.",
        fix="Correct it, or pass the files with --data, once for each.",
    )


CONFIGS_NEED_YAML = Problem(
    code="MENS-D249",
    what="it lists which files belong to which split, and reading it needs PyYAML.",
    fix='Run: pip install "pyyaml>=6.0", or pass the files with --data, once for each.',
)
"""A list of configurations, and nothing installed that reads it."""


def config_without_train(name: str, splits: Sequence[str]) -> Problem:
    """A configuration with splits of other names."""
    return Problem(
        code="MENS-D250",
        what=f"the configuration {clipped(name)} has no split train, but"
        f" {clipped(', '.join(splits))}.",
        fix="Pass the files you mean with --data, once for each.",
    )
