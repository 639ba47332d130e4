"""The format of a file of rows that is not JSON Lines, by its first bytes or by its name.

Only certain answers are given: a JSON Lines file with a broken first line has none of these
formats.
"""

from __future__ import annotations

import json
from enum import StrEnum

HEAD_BYTES = 1 << 16
"""Number of bytes that are enough to recognise a format."""


class FileForm(StrEnum):
    """The formats that people keep rows in, as they are called in messages."""

    JSON_ARRAY = "a JSON array"
    JSON_DOCUMENT = "JSON over several lines"
    CSV = "CSV"
    TSV = "tab-separated text"
    PARQUET = "Parquet"
    FEATHER = "Arrow (Feather)"
    ARROW = "an Arrow stream"
    """The format of the library `datasets`."""
    DATASET = "a saved data set of the library datasets"
    """A folder."""
    GZIP = "compressed by gzip"
    ZSTD = "compressed by zstd"
    ZIP = "a ZIP archive"
    UTF16 = "text in UTF-16"
    TEXT = "plain text"
    """Never recognised: text is what has no other format."""
    JSON_LINES = "JSON Lines"
    """Only recognised by name; a file with this content is read anyway."""


_MAGIC = {
    b"PAR1": FileForm.PARQUET,
    b"ARROW1": FileForm.FEATHER,
    b"\xff\xff\xff\xff": FileForm.ARROW,
    b"\x1f\x8b": FileForm.GZIP,
    b"\x28\xb5\x2f\xfd": FileForm.ZSTD,
    b"PK\x03\x04": FileForm.ZIP,
    b"\xff\xfe": FileForm.UTF16,
    b"\xfe\xff": FileForm.UTF16,
}
_BY_SUFFIX = {
    ".jsonl.gz": FileForm.GZIP,
    ".json.gz": FileForm.GZIP,
    ".csv.gz": FileForm.GZIP,
    ".jsonl.zst": FileForm.ZSTD,
    ".json.zst": FileForm.ZSTD,
    ".jsonl.zip": FileForm.ZIP,
    ".jsonl": FileForm.JSON_LINES,
    ".ndjson": FileForm.JSON_LINES,
    ".json": FileForm.JSON_ARRAY,
    ".csv": FileForm.CSV,
    ".tsv": FileForm.TSV,
    ".parquet": FileForm.PARQUET,
    ".arrow": FileForm.ARROW,
    ".feather": FileForm.FEATHER,
}
_UTF8_MARK = b"\xef\xbb\xbf"
_TEXT_LINES = 4


def form_of_content(head: bytes) -> FileForm | None:
    """The format of a file that begins with these bytes; `None` if it may be JSON Lines."""
    for magic, form in _MAGIC.items():
        if head.startswith(magic):
            return form
    lines = head.removeprefix(_UTF8_MARK).lstrip().split(b"\n")
    first = lines[0].strip()
    if first.startswith(b"["):
        return FileForm.JSON_ARRAY if _is_whole_array(lines) else None
    if first == b"{" and len(lines) > 1 and lines[1].strip().startswith(b'"'):
        return FileForm.JSON_DOCUMENT
    return _form_of_table([line.strip() for line in lines[:_TEXT_LINES] if line.strip()])


def form_of_name(name: str) -> FileForm | None:
    """The format suggested by a file's name; `None` if the name suggests none."""
    lowered = name.lower()
    return next((form for end, form in _BY_SUFFIX.items() if lowered.endswith(end)), None)


def _is_whole_array(lines: list[bytes]) -> bool:
    """Whether this is one array (over several lines or alone), not one odd row among many."""
    try:
        json.loads(lines[0])
    except (ValueError, RecursionError):
        # The first line ends inside of it, or what was read of a long line does.
        return lines[0].rstrip().endswith((b"[", b",", b"{", b"}")) or len(lines) == 1
    return not any(line.strip() for line in lines[1:]) and b"{" in lines[0]


def _form_of_table(lines: list[bytes]) -> FileForm | None:
    """The format of a table: a header and rows, none of which looks like JSON."""
    if len(lines) < 2 or any(line.startswith((b"{", b"[")) for line in lines):
        return None
    if any(byte < 9 for line in lines for byte in line):
        return None
    for separator, form in ((b"\t", FileForm.TSV), (b",", FileForm.CSV), (b";", FileForm.CSV)):
        if all(separator in line for line in lines[:2]):
            return form
    return None
