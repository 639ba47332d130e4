"""Which parts of printed text have a colour: errors, notes, and the figures that decide."""

from __future__ import annotations

from collections.abc import Iterator

from vox_cli.terminal import Piece, Style

_LEADS = {"error": Style.BOLD_RED, "stopped": Style.BOLD, "note:": Style.CYAN}
"""First words of lines on stderr."""

_FIGURES = ("held-out loss", "loss", "exact answers")
"""Rows of a report that say what was learned."""


def with_lead(line: str) -> list[Piece]:
    """A line whose first word says what it is."""
    lead, gap, rest = line.partition(" ")
    return [(lead, _LEADS.get(lead, Style.PLAIN)), (gap + rest, Style.PLAIN)]


def with_figures(text: str) -> list[Piece]:
    """A report, with the rows that matter most in bold."""
    return list(_figures(text))


def _figures(text: str) -> Iterator[Piece]:
    for number, line in enumerate(text.split("\n")):
        if number:
            yield "\n", Style.PLAIN
        is_figure = any(line.startswith(f"{name}  ") for name in _FIGURES)
        yield line, Style.BOLD if is_figure else Style.PLAIN
