"""All messages of this package for operators; `vox_populi.operator_messages` has the rest.

Codes MENS-D001 to MENS-D029 and MENS-D130 are reserved for this file. No message repeats the
content of a bad line, which may be private.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from vox_tensor.errors import Problem
from vox_tensor.file_form import FileForm

_FROM_CSV = (
    'python -c "import csv, json, sys; [print(json.dumps(row)) for row in '
    'csv.DictReader(sys.stdin{delimiter})]" < {source} > {target}'
)
_FROM_TABLE = (
    'python -c "import pandas, sys; pandas.read_{form}(sys.argv[1])'
    ".to_json(sys.argv[2], orient='records', lines=True)\" {source} {target}"
)
_FROM_DATASETS = (
    'python -c "import datasets, sys; datasets.{read}(sys.argv[1])'
    '.to_json(sys.argv[2])" {source} {target}'
)
_CONVERSIONS: Mapping[FileForm, str] = {
    FileForm.JSON_ARRAY: "jq -c '.[]' {source} > {target}",
    FileForm.JSON_DOCUMENT: "jq -c . {source} > {target}",
    FileForm.CSV: _FROM_CSV.replace("{delimiter}", ""),
    FileForm.TSV: _FROM_CSV.replace("{delimiter}", ", delimiter='\\t'"),
    FileForm.PARQUET: _FROM_TABLE.replace("{form}", "parquet"),
    FileForm.FEATHER: _FROM_TABLE.replace("{form}", "feather"),
    FileForm.ARROW: _FROM_DATASETS.replace("{read}", "Dataset.from_file"),
    FileForm.DATASET: _FROM_DATASETS.replace("{read}", "load_from_disk"),
    FileForm.GZIP: "gunzip -c {source} > {target}",
    FileForm.ZSTD: "zstd -dc {source} > {target}",
    FileForm.ZIP: "unzip -p {source} > {target}",
    FileForm.UTF16: "iconv -f UTF-16 -t UTF-8 {source} > {target}",
    FileForm.TEXT: "cp {source} {target}",
    FileForm.JSON_LINES: "mv {source} {target}",
}


def conversion(form: FileForm, source: str, target: str) -> str:
    """A command that converts a file to JSON Lines; for a file that only needs a new name, `mv`."""
    return _CONVERSIONS[form].format(source=shlex.quote(source), target=shlex.quote(target))


def not_json_lines(form: FileForm, where: str) -> Problem:
    """A file in another format, reported once instead of for every line."""
    command = conversion(form, where, "rows.jsonl")
    return Problem(
        code="MENS-D130",
        what=f"this is {form.value}, not JSON Lines (one JSON object per line).",
        fix=f"Convert it: {command}",
        where=where,
    )


def file_unreadable(reason: str) -> Problem:
    """The operating system refuses to open or read a file."""
    return Problem(
        code="MENS-D001",
        what=f"the file cannot be read: {reason}.",
        fix="Check the path and its permissions.",
    )


NOT_A_REGULAR_FILE = Problem(
    code="MENS-D002",
    what="this is not a regular file.",
    fix="Pass a file; copy the output of a pipe or device into one first.",
)
"""A folder, device, pipe or socket in place of a file."""


def line_too_long(limit: int) -> Problem:
    """A line exceeds the limit that bounds memory."""
    return Problem(
        code="MENS-D003",
        what=f"the line is longer than {limit} bytes.",
        fix="Split the row; JSON Lines has one JSON object on each line.",
    )


def not_utf8(byte: int) -> Problem:
    """Bytes that are not UTF-8."""
    return Problem(
        code="MENS-D004",
        what=f"byte {byte} of the line is not UTF-8.",
        fix="Save the file as UTF-8; unpack it first if it is compressed.",
    )


def not_json(reason: str, character: int) -> Problem:
    """A syntax error, in the parser's words."""
    return Problem(
        code="MENS-D005",
        what=f"this is not JSON: {reason} at character {character}.",
        fix="Write one complete JSON object per line.",
    )


REPEATED_KEY = Problem(
    code="MENS-D006",
    what="an object has the same key twice.",
    fix="Keep one of them.",
)
"""An object has a key twice; parsers differ on which one counts."""

NOT_A_JSON_NUMBER = Problem(
    code="MENS-D007",
    what="a number is NaN, infinite or out of range, which JSON does not have.",
    fix="Use null, or omit the key.",
)
"""NaN or an infinity, spelled out or by overflow."""

LONE_SURROGATE = Problem(
    code="MENS-D008",
    what="a string has half of a surrogate pair, which is not a character.",
    fix="Fix or remove the \\ud800 to \\udfff escape that has no partner.",
)
r"""Half of a UTF-16 pair, as in `"\ud800"`."""

NOT_AN_OBJECT = Problem(
    code="MENS-D009",
    what="the line is JSON, but not an object.",
    fix='Write each row as {"key": value, ...} on its own line, without a list around them.',
)
"""Valid JSON, but a list, string, number, boolean or null."""


def nested_too_deeply(limit: int) -> Problem:
    """Objects and lists nested beyond the limit."""
    return Problem(
        code="MENS-D010",
        what=f"objects and lists are nested more than {limit} deep.",
        fix="Flatten the row.",
    )


def integer_too_long(limit: int) -> Problem:
    """An integer that takes quadratic time to read."""
    return Problem(
        code="MENS-D011",
        what=f"an integer has more than {limit} digits.",
        fix="Write it as a string.",
    )


def blank_lines(count: int) -> Problem:
    """Empty lines with rows after them."""
    lines = "the line is" if count == 1 else f"{count} lines from here are"
    return Problem(
        code="MENS-D012",
        what=f"{lines} blank, and more rows follow.",
        fix="Remove blank lines, or restore the rows that were there.",
    )


def more_problems(count: int) -> Problem:
    """A count of the problems beyond the limit."""
    lines = "1 more problem" if count == 1 else f"{count} more problems"
    return Problem(
        code="MENS-D013",
        what=f"there are {lines} like these.",
        fix="Fix those listed, then run the command again to see the next.",
    )


def not_a_vox_tokenizer(reason: str) -> Problem:
    """A file that should be VoxTokenizer's but is not."""
    return Problem(
        code="MENS-D020",
        what=f"this is not a VoxTokenizer tokenizer.json: {reason}.",
        fix="Pass the tokenizer.json that VoxTokenizer wrote, or use --tokenizer hf for others.",
    )
