"""A row of `vox mens preview` as text: what is learned, control tokens, and long lines folded.

On a terminal, lines are folded here, since the terminal would continue them at its left border,
where they could be mistaken for output of the command. A pipe gets every line whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vox_cli.terminal import Piece, Style
from vox_cli.text_width import cells
from vox_populi.data.marked_row import MarkedKind, MarkedPiece, MarkedRow
from vox_populi.operator_messages.wording import clipped
from vox_tensor.visible_text import one_line, visible

INDENT = "  "
FOLDED = "\\ "
"""Beginning of a line that continues the one above it; only on a terminal."""
NOT_A_CONTROL = "\\"
"""Put before text that spells a control token but is not one."""
_NARROWEST = 20
_TAB = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewLook:
    """How rows are shown on a stream."""

    has_color: bool
    columns: int | None = None
    """Width at which lines are folded; `None` for never."""


def preview_text(row: MarkedRow, look: PreviewLook) -> Iterator[Piece]:
    """A row's text, indented.

    What is learned is green, or between guillemets without colour. Control tokens are bold. Text
    that only spells one has a backslash in front.
    """
    weight = "" if row.weight == 1 else f", weight {row.weight:g}"
    source = "" if row.source is None else f", from {clipped(row.source)}"
    counts = f"{len(row.labels):,} tokens, {row.n_learned:,} learned{weight}"
    yield one_line(f"{row.counted_as} {row.source_line}: {counts}{source}"), Style.PLAIN
    yield f"\n{INDENT}", Style.PLAIN
    pieces = _styled(row, look)
    yield from _indented(pieces) if look.columns is None else _folded(pieces, look.columns)
    yield "\n", Style.PLAIN


def _styled(row: MarkedRow, look: PreviewLook) -> Iterator[Piece]:
    pieces = row.pieces
    for i, piece in enumerate(pieces):
        text = visible(f"{NOT_A_CONTROL * (piece.kind is MarkedKind.SPELLED)}{piece.text}")
        if look.has_color:
            yield text, _style(piece)
            continue
        opens = piece.learned and (i == 0 or not pieces[i - 1].learned)
        closes = piece.learned and (i + 1 == len(pieces) or not pieces[i + 1].learned)
        yield f"{'«' * opens}{text}{'»' * closes}", Style.PLAIN


def _style(piece: MarkedPiece) -> Style:
    if piece.kind is MarkedKind.CONTROL:
        return Style.BOLD_GREEN if piece.learned else Style.BOLD
    return Style.GREEN if piece.learned else Style.PLAIN


def _indented(pieces: Iterable[Piece]) -> Iterator[Piece]:
    for text, style in pieces:
        yield text.replace("\n", f"\n{INDENT}"), style


def _folded(pieces: Iterable[Piece], columns: int) -> Iterator[Piece]:
    """Pieces with the line ends of the text, and those that the width makes necessary."""
    width = max(columns, _NARROWEST)
    column = len(INDENT)
    for text, style in pieces:
        shown: list[str] = []
        for letter in text:
            size = _TAB - column % _TAB if letter == "\t" else cells(letter)
            if letter == "\n":
                shown.append(f"\n{INDENT}")
                column = len(INDENT)
                continue
            if column + size > width:
                shown.append(f"\n{FOLDED}")
                column = len(FOLDED)
            shown.append(letter)
            column += size
        yield "".join(shown), style
