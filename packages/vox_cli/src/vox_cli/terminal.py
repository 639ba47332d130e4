"""Standard output and error: the only module that writes to them, or reads what is typed.

All text is escaped on its way out, into a pipe as on a terminal: names, rows and answers come
from others, and a control character in one of them must not move a cursor, set a title or recolour
what follows. The escape sequences that do come out are those of `Style` and of a redrawn line.

Lines are wrapped by the terminal, never here: a fix is there to be pasted, and a line break of ours
would be pasted with it.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TextIO

import typer

from vox_tensor.visible_text import one_line, visible

FALLBACK_COLUMNS = 80
_CLEAR_TO_END = "\x1b[K"
_RESET = "\x1b[0m"


class Style(StrEnum):
    """How a piece of text looks; the values are the terminal's."""

    PLAIN = ""
    GREEN = "\x1b[32m"


Piece = tuple[str, Style]


@dataclass(frozen=True, slots=True)
class Channel:
    """One stream; it is found anew each time, since tests and callers exchange it."""

    find: Callable[[], TextIO]

    def text(self, text: str, *, end: str = "\n") -> None:
        """Write free text; its newlines and tabs stay."""
        self._write(visible(text) + end)

    def line(self, text: str) -> None:
        """Write one line, whatever is in it: a newline cannot forge a second one."""
        self._write(one_line(text) + "\n")

    def styled(self, pieces: Iterable[Piece], *, has_color: bool) -> None:
        """Write pieces of free text, coloured where asked for."""
        shown = "".join(_styled(text, style, has_color=has_color) for text, style in pieces)
        self._write(shown + "\n")

    def redrawn(self, text: str) -> None:
        """Replace what stands on the terminal's last line; the next line overwrites it."""
        self._write(f"\r{one_line(text)}{_CLEAR_TO_END}")

    def over_redrawn(self, text: str) -> None:
        """Write one line in the place of a redrawn one."""
        self._write(f"\r{one_line(text)}{_CLEAR_TO_END}\n")

    def end_redrawn(self) -> None:
        """Leave a redrawn line as it stands."""
        self._write("\n")

    def at_once(self, text: str) -> None:
        """Write one line past every buffer, from a signal's thread; a lost stream is no failure."""
        lead = f"\r{_CLEAR_TO_END}" if self.is_terminal() else ""
        with suppress(OSError, ValueError):
            os.write(self.find().fileno(), f"{lead}{one_line(text)}\n".encode())

    def flush(self) -> None:
        """Hand on what is buffered."""
        self.find().flush()

    def silence(self) -> None:
        """Point a closed pipe at nothing, so that the interpreter's last flush cannot complain."""
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.find().fileno())

    def is_terminal(self) -> bool:
        """Whether somebody looks at it."""
        try:
            return self.find().isatty()
        except ValueError:
            return False

    def columns(self) -> int:
        """Width of the terminal that this stream is on, whatever the other streams are."""
        try:
            columns = os.get_terminal_size(self.find().fileno()).columns
        except (OSError, ValueError):
            columns = 0
        # A terminal that does not know its size says 0.
        return columns or FALLBACK_COLUMNS

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
    """Make both streams usable, whoever started this process."""
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
    """What is typed behind a prompt of ours.

    Raises:
        EOFError: When nothing will be typed any more.
    """
    return input(prompt)


def _styled(text: str, style: Style, *, has_color: bool) -> str:
    shown = visible(text)
    return f"{style}{shown}{_RESET}" if has_color and style else shown
