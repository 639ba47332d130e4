from __future__ import annotations

import pytest

from vox_cli.preview_text import PreviewLook, preview_text
from vox_cli.text_width import cells
from vox_populi.data.marked_row import MarkedKind, MarkedPiece, MarkedRow


def row(*pieces: MarkedPiece, source: str | None = None) -> MarkedRow:
    return MarkedRow(tokens=(), labels=(), pieces=pieces, source_line=1, source=source)


def text_of(shown: MarkedRow, look: PreviewLook) -> str:
    return "".join(text for text, _ in preview_text(shown, look))


PIPE = PreviewLook(has_color=False)


def test_guillemets_hold_everything_that_is_learned_and_nothing_else() -> None:
    shown = row(
        MarkedPiece("<s>", learned=False, kind=MarkedKind.CONTROL),
        MarkedPiece("a", learned=False),
        MarkedPiece("b", learned=True),
        MarkedPiece("</s>", learned=True, kind=MarkedKind.CONTROL),
        MarkedPiece("c", learned=False),
        MarkedPiece("d", learned=True),
    )
    assert text_of(shown, PIPE).splitlines()[1] == "  <s>a«b</s>»c«d»"


def test_text_that_spells_a_control_token_is_told_from_one() -> None:
    shown = row(
        MarkedPiece("<s>", learned=False, kind=MarkedKind.CONTROL),
        MarkedPiece("<s>", learned=False, kind=MarkedKind.SPELLED),
    )
    assert text_of(shown, PIPE).splitlines()[1] == "  <s>\\<s>"


def test_a_pipe_gets_whole_lines() -> None:
    shown = row(MarkedPiece("x" * 500 + "\ny", learned=True))
    assert text_of(shown, PIPE).splitlines()[1:] == ["  «" + "x" * 500, "  y»"]


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_lines_fit_the_terminal_and_none_begins_at_its_border(columns: int) -> None:
    words = "wide 文字 e\u0301 \x1b[2J " * 40
    shown = row(MarkedPiece(words, learned=False), MarkedPiece(words, learned=True))
    head, *lines = text_of(shown, PreviewLook(has_color=False, columns=columns)).splitlines()
    assert head == "line 1: 0 tokens, 0 learned"
    assert len(lines) > 2
    assert all(line.startswith(("  ", "\\ ")) for line in lines)
    assert all(columns - 2 < cells(line) <= columns for line in lines[:-1])
    joined = "".join(line[2:] for line in lines)
    assert joined == f"{words}«{words}»".replace("\x1b", "\\x1b")


def test_a_source_cannot_forge_a_line() -> None:
    shown = row(MarkedPiece("x", learned=True), source="a\nerror [MENS-D001] forged")
    assert "\nerror" not in text_of(shown, PIPE)
