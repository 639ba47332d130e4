"""The objects of a JSON array, or of JSON values one after another, each as one line.

The text is cut at the commas between elements; whether an element is valid is found out later, so
one broken element is one problem. Memory holds one element at a time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from vox_populi.data.row_files.row_spool import Converted
from vox_populi.errors import DataError
from vox_populi.operator_messages import row_files as say
from vox_tensor import data_messages
from vox_tensor.jsonl import MAX_LINE_BYTES

_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_QUOTE = ord('"')
_CHUNK_BYTES = 2**18
_BREAK_IN_STRING = say.with_fix_of_row(
    data_messages.not_json("Invalid control character in a string", 1).at("")
)
# Possessive, so that a string that does not end is found out without trying every way to end it.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKEN = re.compile(_STRING + rb'|["{}\[\],]', re.DOTALL)
_INSIDE_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_STRING_OR_BREAK = re.compile(_STRING + rb"|[\r\n]+", re.DOTALL)


def json_elements(content: BinaryIO, where: str) -> Iterator[Converted]:
    """The elements of an array, or the values of a file with several.

    Args:
        content: UTF-8.
        where: The file's name, for problems that concern all of it.

    Raises:
        DataError: When the text ends inside an element, or continues after the array.
    """
    yield from _Elements(content, where).each()


class _Elements:
    """Reads a file in pieces and cuts it."""

    def __init__(self, content: BinaryIO, where: str) -> None:
        self._content = content
        self._where = where
        self._text = b""
        self._at = 0
        """Position of the search for the next token."""
        self._depth = 0
        self._is_array = False
        self._dropped = 0
        """Bytes of this element that were too many to keep."""
        self._count = 0

    def each(self) -> Iterator[Converted]:
        """All of them."""
        self._more()
        self._text = self._text.removeprefix(_BOM).lstrip(_SPACE)
        self._is_array = self._text.startswith(b"[")
        self._at = int(self._is_array)
        self._keep_from(self._at)
        while (found := self._next()) is not None:
            end, is_last = found
            yield from self._element(self._text[:end], is_last)
            self._keep_from(self._at)
            self._dropped = 0
            if is_last:
                self._require_nothing_more()
                return
        rest = self._text.strip(_SPACE)
        if self._is_array or self._depth or rest or self._dropped:
            raise DataError(say.json_cut_off(self._count + 1).at(self._where))

    def _element(self, raw: bytes, is_last: bool) -> Iterator[Converted]:
        stripped = raw.strip(_SPACE)
        if not stripped and not self._dropped and is_last and not self._count:
            return  # An empty array.
        self._count += 1
        if self._dropped:
            yield say.row_too_large(MAX_LINE_BYTES)
        elif not stripped.startswith(b"{"):
            yield say.ELEMENT_NOT_OBJECT
        else:
            line = _one_line(stripped)
            yield _BREAK_IN_STRING if line is None else line + b"\n"

    def _next(self) -> tuple[int, bool] | None:
        """The end of the next element, and whether the array ends there; moves past it."""
        while True:
            token = _TOKEN.search(self._text, self._at)
            if token is None:
                self._at = len(self._text)
                if not self._more():
                    return None
                continue
            byte = token.group()
            if byte == b'"':
                self._at = token.start()
                if not self._pass_string():
                    return None
                continue
            self._at = token.end()
            if byte.startswith(b'"'):
                continue
            end = self._border(byte, token.start())
            if end is not None:
                return end, byte == b"]" and self._is_array

    def _border(self, byte: bytes, start: int) -> int | None:
        """The end of an element that a token ends."""
        if byte == b",":
            return start if self._is_array and not self._depth else None
        if byte in b"[{":
            self._depth += 1
            return None
        if not self._depth:
            return start if byte == b"]" and self._is_array else None
        self._depth -= 1
        return start + 1 if not self._depth and not self._is_array else None

    def _pass_string(self) -> bool:
        """Move past a string that does not end in what was read; `False` if it never does."""
        self._at += 1
        while True:
            inside = _INSIDE_STRING.match(self._text, self._at)
            assert inside is not None, "it matches an empty text"
            self._at = inside.end()
            if self._text.startswith(b'"', self._at):
                self._at += 1
                return True
            # A backslash at the very end belongs to what comes next.
            if not self._more():
                return False

    def _more(self) -> bool:
        """Read on; `False` at the end. Drops an element that is too long to be kept."""
        if self._at > MAX_LINE_BYTES:
            self._dropped += self._at
            self._keep_from(self._at)
        chunk = self._content.read(_CHUNK_BYTES)
        self._text += chunk
        return bool(chunk)

    def _keep_from(self, start: int) -> None:
        self._text = self._text[start:]
        self._at = 0

    def _require_nothing_more(self) -> None:
        while True:
            if self._text.strip(_SPACE):
                raise DataError(say.JSON_GOES_ON.at(self._where))
            self._text = b""
            if not self._more():
                return


def _one_line(raw: bytes) -> bytes | None:
    """An element without line breaks; `None` if one is inside a string, where JSON has none."""
    if b"\n" not in raw and b"\r" not in raw:
        return raw
    line = _STRING_OR_BREAK.sub(
        lambda found: b" " if found.group()[0] != 34 else found.group(), raw
    )
    return None if b"\n" in line or b"\r" in line else line
