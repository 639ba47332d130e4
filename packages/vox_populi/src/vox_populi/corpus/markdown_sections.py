"""Sections of a Markdown document: its headings, each with the text up to the next one.

Headings inside code fences and comments are text. Front matter is read as plain `key: value`
lines and is not part of any section. This reads a document; it does not render one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*")
_FIELD = re.compile(r"([A-Za-z_][\w-]*)[ \t]*[:=][ \t]*(.*)")
_ATTRIBUTES = re.compile(r"[ \t]*\{[^{}]*\}[ \t]*$")
_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*(?:[ \t]+\"[^\"]*\")?\)")
_MAX_FIELDS = 100
_MAX_HEADING_CHARS = 400
"""A longer line is text. Expressions are only matched with short lines: no file can slow them."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its own text, without the sections below it."""

    headings: tuple[str, ...]
    """Its heading, after those of the sections that it is part of; empty before the first."""
    text: str
    line: int
    """Line of the heading, from 1."""

    @property
    def heading(self) -> str:
        """Its own heading; empty for the text before the first one."""
        return self.headings[-1] if self.headings else ""


@dataclass(frozen=True, slots=True)
class MarkdownDocument:
    """A document in parts."""

    front_matter: Mapping[str, str]
    """Plain fields by name, in lower case."""
    sections: tuple[Section, ...]

    @property
    def title(self) -> str | None:
        """The title of the front matter, or the first heading."""
        first = next((each.headings[0] for each in self.sections if each.headings), None)
        return self.front_matter.get("title") or first


def read_markdown(text: str) -> MarkdownDocument:
    """Cut a document into sections."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    fields, start = _front_matter(lines)
    reader = _Reader(start + 1)
    for number, line in enumerate(lines[start:], start + 1):
        reader.take(line, number)
    reader.close_section()
    return MarkdownDocument(fields, tuple(reader.sections))


class _Reader:
    """Goes through the lines of a document once."""

    def __init__(self, first_line: int) -> None:
        self.sections: list[Section] = []
        self._headings: list[tuple[int, str]] = []
        self._body: list[str] = []
        self._line = first_line
        self._fence = ""
        self._in_comment = False

    def take(self, line: str, number: int) -> None:
        """Take the next line."""
        if self._fence:
            self._body.append(line)
            if _closes(self._fence, line):
                self._fence = ""
        elif self._in_comment or line.lstrip().startswith("<!--"):
            # A comment is for authors; what follows its end on the line is not read either.
            self._in_comment = "-->" not in line
        elif fence := _opened_fence(line):
            self._fence = fence
            self._body.append(line)
        elif heading := _marked_heading(line):
            self._open(*heading, number)
        elif (underline := _SETEXT.fullmatch(line)) and _is_paragraph(self._body):
            words = self._body.pop()
            self._open(1 if underline[1][0] == "=" else 2, words.strip(), number - 1)
        else:
            self._body.append(line)

    def close_section(self) -> None:
        """Add the section up to here."""
        text = "\n".join(self._body).strip("\n").rstrip()
        if text or self._headings:
            words = tuple(words for _, words in self._headings)
            self.sections.append(Section(words, text, self._line))
        self._body = []

    def _open(self, level: int, words: str, number: int) -> None:
        self.close_section()
        while self._headings and self._headings[-1][0] >= level:
            self._headings.pop()
        self._headings.append((level, _plain(words)))
        self._line = number


def _front_matter(lines: list[str]) -> tuple[dict[str, str], int]:
    """Plain fields between two `---` or `+++` lines at the start, and the line after them."""
    mark = lines[0].rstrip().removeprefix("\ufeff")
    if mark not in ("---", "+++"):
        return {}, 0
    ends = ("---", "...") if mark == "---" else ("+++",)
    end = next((i for i, line in enumerate(lines[1:], 1) if line.rstrip() in ends), None)
    if end is None:
        return {}, 0
    found = [match for line in lines[1:end] if (match := _FIELD.fullmatch(line.rstrip()))]
    return {each[1].lower(): each[2].strip("\"'") for each in found[:_MAX_FIELDS]}, end + 1


def _marked_heading(line: str) -> tuple[int, str] | None:
    """Level and words of a heading that begins with `#`."""
    text = line.lstrip(" ")
    words = text.lstrip("#")
    level = len(text) - len(words)
    if not 1 <= level <= 6 or len(line) - len(text) > 3 or len(line) > _MAX_HEADING_CHARS:
        return None
    if words and words[0] not in " \t":
        return None
    words = words.strip(" \t")
    unclosed = words.rstrip("#")
    if not unclosed or unclosed[-1] in " \t":
        words = unclosed.rstrip(" \t")
    return level, words


def _opened_fence(line: str) -> str:
    """The marks that open a fence of code; empty for any other line."""
    match = _FENCE.match(line)
    if match is None or (match[1][0] == "`" and "`" in line[match.end() :]):
        return ""
    return match[1]


def _closes(fence: str, line: str) -> bool:
    marks = line.strip(" ")
    is_indented = line.startswith("    ")
    return not is_indented and len(marks) >= len(fence) and set(marks.rstrip()) == {fence[0]}


def _is_paragraph(body: list[str]) -> bool:
    """Whether the last line is one of plain text, which an underline makes a heading."""
    last = body[-1] if body else ""
    starts = ("    ", "\t", ">", "|", "- ", "* ", "+ ", "#", "`", "<")
    above = body[-2].strip() if len(body) > 1 else ""
    is_short = len(last) <= _MAX_HEADING_CHARS
    return is_short and bool(last.strip()) and not above and not last.startswith(starts)


def _plain(words: str) -> str:
    """A heading without links and attributes."""
    return _LINK.sub(r"\1", _ATTRIBUTES.sub("", words)).strip()
