"""Recognises files that hold no rows by their first bytes."""

from __future__ import annotations

_MAGIC = {
    b"%PDF-": "a PDF document",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"BZh": "a file compressed by bzip2",
    b"\xfd7zXZ\x00": "a file compressed by xz",
    b"\x04\x22\x4d\x18": "a file compressed by lz4",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"PK\x03\x04": "a ZIP archive or an Office document",
    b"Rar!": "a RAR archive",
    b"SQLite format 3": "an SQLite database",
    b"\x93NUMPY": "a NumPy array",
    b"\x89HDF": "an HDF5 file",
    b"GGUF": "a model in GGUF",
    b"ORC": "an ORC file",
    b"Obj\x01": "an Avro file",
    b"FEA1": "a file in Feather version 1",
    b"\x80\x02": "a Python pickle",
    b"\x80\x03": "a Python pickle",
    b"\x80\x04": "a Python pickle",
    b"\x80\x05": "a Python pickle",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"{\\rtf": "an RTF document",
}
_MARKUP = ((b"<!doctype html", "an HTML page"), (b"<html", "an HTML page"), (b"<?xml", "XML"))
_TAR_MARK = slice(257, 262)


def foreign_kind(head: bytes) -> str | None:
    """The kind of file that begins with these bytes, if it is a known one without rows."""
    for magic, kind in _MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[_TAR_MARK] == b"ustar":
        return "a tar archive"
    text = head[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((kind for start, kind in _MARKUP if text.startswith(start)), None)


def is_binary(head: bytes) -> bool:
    """Whether bytes are not those of a text."""
    return b"\0" in head
