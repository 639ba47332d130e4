"""Standard output and error: the only module that writes to them or reads typed input.

All text is escaped before it is written, to a pipe or a terminal: names, rows and answers are
untrusted, and a control character in one of them must not move a cursor, set a title or change
colours. The only escape sequences written are those of `Style` and of a redrawn line.

Lines are wrapped by the terminal, never here: a fix is meant to be pasted, and a line break of ours
would be pasted with it.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO

import typer

from vox_tensor.visible_text import one_line, visible

FALLBACK_COLUMNS = 80
FALLBACK_ROWS = 24
_CLEAR_TO_END = "\x1b[K"
_CLEAR_BELOW = "\x1b[J"
_RESET = "\x1b[0m"


class Style(StrEnum):
    """Styles of text; the values are the terminal's codes."""

    PLAIN = ""
    GREEN = "\x1b[32m"
    CYAN = "\x1b[36m"
    BOLD_RED = "\x1b[1;31m"
    BOLD = "\x1b[1m"
    BOLD_GREEN = "\x1b[1;32m"


Piece = tuple[str, Style]


@dataclass(frozen=True, slots=True)
class Channel:
    """One stream; it is looked up each time, since tests and callers replace it."""

    find: Callable[[], TextIO]

    def text(self, text: str, *, end: str = "\n") -> None:
        """Write free text; its newlines and tabs stay."""
        self._write(visible(text) + end)

    def line(self, text: str) -> None:
        """Write one line; a newline in the text cannot forge a second one."""
        self._write(one_line(text) + "\n")

    def styled(self, pieces: Iterable[Piece], *, has_color: bool) -> None:
        """Write pieces of free text in their styles."""
        shown = "".join(_styled(text, style, has_color=has_color) for text, style in pieces)
        self._write(shown + "\n")

    def redrawn(self, text: str) -> None:
        """Replace the terminal's last line; the next line overwrites it."""
        self._write(f"\r{one_line(text)}{_CLEAR_TO_END}")

    def over_redrawn(self, text: str) -> None:
        """Write one line in place of a redrawn one."""
        self._write(f"\r{one_line(text)}{_CLEAR_TO_END}\n")

    def end_redrawn(self) -> None:
        """Leave a redrawn line as it is."""
        self._write("\n")

    def repainted(self, lines: Sequence[str], above: int) -> None:
        """Replace the last lines of a terminal.

        Args:
            lines: What is there from now on; none wider than the terminal.
            above: How many lines are replaced.
        """
        up = f"\x1b[{above}A" if above else ""
        shown = "".join(f"{one_line(line)}{_CLEAR_TO_END}\n" for line in lines)
        self._write(f"\r{up}{shown}{_CLEAR_BELOW}")

    def at_once(self, text: str) -> None:
        """Write one unbuffered line, from a signal's thread; a lost stream is ignored."""
        lead = f"\r{_CLEAR_TO_END}" if self.is_terminal() else ""
        with suppress(OSError, ValueError):
            os.write(self.find().fileno(), f"{lead}{one_line(text)}\n".encode())

    def flush(self) -> None:
        """Flush the buffer."""
        self.find().flush()

    def silence(self) -> None:
        """Redirect a closed pipe to nothing, so that the interpreter's last flush cannot fail."""
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.find().fileno())

    def is_terminal(self) -> bool:
        """Whether the stream is a terminal."""
        try:
            return self.find().isatty()
        except ValueError:
            return False

    def columns(self) -> int:
        """Width of this stream's terminal, regardless of the other streams."""
        try:
            columns = os.get_terminal_size(self.find().fileno()).columns
        except (OSError, ValueError):
            columns = 0
        # A terminal that does not know its size says 0.
        return columns or FALLBACK_COLUMNS

    def rows(self) -> int:
        """Height of this stream's terminal."""
        try:
            rows = os.get_terminal_size(self.find().fileno()).lines
        except (OSError, ValueError):
            rows = 0
        return rows or FALLBACK_ROWS

    @property
    def has_unicode(self) -> bool:
        """Whether every character can be written."""
        encoding = getattr(self.find(), "encoding", None) or "ascii"
        return encoding.lower().replace("-", "") == "utf8"

    def _write(self, text: str) -> None:
        # `color=True`: only our own sequences are left in it, so none is to be stripped.
        typer.echo(text, file=self.find(), nl=False, color=True)


STDOUT = Channel(lambda: sys.stdout)
STDERR = Channel(lambda: sys.stderr)


def open_streams() -> None:
    """Make both streams usable, however this process was started."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # Closed by whoever started us (`>&-`): nobody reads, and nothing must fail for it.
            nothing = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(nothing, "w", encoding="utf-8"))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding lacks must not end a command.
            stream.reconfigure(errors="backslashreplace")


def ask(prompt: str) -> str:
    """Ask for input with a prompt.

    Raises:
        EOFError: At the end of the input.
    """
    return input(prompt)


def _styled(text: str, style: Style, *, has_color: bool) -> str:
    shown = visible(text)
    return f"{style}{shown}{_RESET}" if has_color and style else shown
