"""Text and Markdown as rows of `text`: paragraphs together up to a size, a heading in front.

A heading starts a row. A paragraph that is too large is cut, at a line or a space where it has one.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import BinaryIO

from vox_populi.data.row_files.row_spool import Converted, converted_row
from vox_populi.errors import DataError
from vox_populi.operator_messages import row_files as say

TEXT_SUFFIXES = (".txt", ".text", ".md", ".markdown", ".mdx", ".rst")
MOST_CHARACTERS = 2000
"""Size of a row unless a number is given; about 500 tokens of English."""

_LINE_CHARACTERS = 2**16
_HEADING = re.compile(r"#{1,6}\s")
_FENCE = re.compile(r"\s{0,3}(```|~~~)")


def text_rows(
    content: BinaryIO, source: str, where: str, most_characters: int = MOST_CHARACTERS
) -> Iterator[Converted]:
    """The rows of one file.

    Args:
        content: UTF-8.
        source: Name of the file in the rows, to tell their losses apart.
        where: The file, for messages.
        most_characters: Size of a row.

    Raises:
        DataError: When it is not UTF-8.
    """
    held = ""
    for block in _blocks(content, where):
        starts_row = bool(_HEADING.match(block))
        if held.strip() and (starts_row or len(held) + len(block) > most_characters):
            yield _row(held, source)
            held = ""
        held += block
        while len(held) > most_characters:
            end = _cut(held, most_characters)
            yield _row(held[:end], source)
            held = held[end:].lstrip("\n")
    if held.strip():
        yield _row(held, source)


def _blocks(content: BinaryIO, where: str) -> Iterator[str]:
    """Paragraphs with the blank lines behind them, headings, and fenced code as a whole."""
    held, fence, is_over = "", "", False
    for line in _lines(content, where):
        mark = _FENCE.match(line)
        is_heading = not fence and _HEADING.match(line)
        if held and ((is_over and line.strip() and not fence) or is_heading):
            yield held
            held = ""
        held += line
        is_over = not line.strip()
        if mark is not None:
            fence = "" if fence == mark[1] else fence or mark[1]
        if len(held) > _LINE_CHARACTERS:
            yield held
            held = ""
    if held:
        yield held


def _lines(content: BinaryIO, where: str) -> Iterator[str]:
    try:
        with io.TextIOWrapper(content, encoding="utf-8-sig") as text:
            while line := text.readline(_LINE_CHARACTERS):
                yield line
    except UnicodeDecodeError:
        raise DataError(say.NOT_UTF8.at(where)) from None


def _cut(text: str, most: int) -> int:
    """The position at which to cut a text that is too long."""
    for separator in ("\n\n", "\n", " "):
        end = text.rfind(separator, most // 2, most)
        if end > 0:
            return end + len(separator)
    return most


def _row(text: str, source: str) -> Converted:
    return converted_row({"text": text.strip("\n"), "source": source})
