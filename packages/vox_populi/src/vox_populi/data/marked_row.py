"""A row as the trainer sees it, with the text of each token and whether it is learned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from vox_populi.data.control_spelling import ControlSpelling
from vox_populi.data.token_text import TokenText, TokenTexts, control_names
from vox_tensor.records import IGNORE_INDEX, EncodedRow
from vox_tensor.tokenizer import TextTokenizer


class MarkedKind(StrEnum):
    """What a part of a row's text is."""

    TEXT = "text"
    CONTROL = "control"
    """One control token."""
    SPELLED = "spelled"
    """Text that spells a control token and is none."""


@dataclass(frozen=True, slots=True)
class MarkedPiece:
    """Neighbouring characters of one kind."""

    text: str
    learned: bool
    kind: MarkedKind = MarkedKind.TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedRow:
    """One row as ids, labels and text."""

    tokens: tuple[TokenText, ...]
    labels: tuple[int, ...]
    """Unshifted, `-100` where a token is not learned."""
    pieces: tuple[MarkedPiece, ...]
    """The whole text in order; a control token is a piece of its own."""
    source_line: int
    source: str | None = None
    weight: float = 1.0
    counted_as: str = "line"
    """What its number counts: lines, or rows of a table."""

    @property
    def ids(self) -> tuple[int, ...]:
        """The ids."""
        return tuple(token.token_id for token in self.tokens)

    @property
    def text(self) -> str:
        """The row's text with its control tokens."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def n_learned(self) -> int:
        """Number of learned tokens."""
        return len(self.labels) - self.labels.count(IGNORE_INDEX)

    def as_json(self) -> dict[str, object]:
        """One line of `vox mens preview --json`."""
        weight = {} if self.weight == 1 else {"weight": self.weight}
        return {
            "ids": list(self.ids),
            "labels": list(self.labels),
            "text": self.text,
            "tokens": [
                _token_json(token, label)
                for token, label in zip(self.tokens, self.labels, strict=True)
            ],
            "source_line": self.source_line,
            "source": self.source,
            **weight,
        }


class RowMarker:
    """Makes marked rows with one tokenizer."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._texts = TokenTexts(tokenizer)
        self._spelling = ControlSpelling(control_names(tokenizer).values())

    def marked(
        self, row: EncodedRow, source: str | None = None, counted_as: str = "line"
    ) -> MarkedRow:
        """A row with its text."""
        tokens = self._texts.of(row.ids)
        return MarkedRow(
            tokens=tokens,
            labels=row.labels,
            pieces=tuple(self._pieces(tokens, row.labels)),
            source_line=row.line,
            source=source,
            weight=row.weight,
            counted_as=counted_as,
        )

    def _pieces(
        self, tokens: tuple[TokenText, ...], labels: tuple[int, ...]
    ) -> Iterator[MarkedPiece]:
        places = enumerate(zip(tokens, labels, strict=True))
        for (learned, control, _), group in groupby(places, _kind):
            text = _joined([token for _, (token, _) in group])
            if control:
                yield MarkedPiece(text, learned, MarkedKind.CONTROL)
            else:
                yield from self._text_pieces(text, learned)

    def _text_pieces(self, text: str, learned: bool) -> Iterator[MarkedPiece]:
        position = 0
        for start, end in (*self._spelling.places(text), (len(text), len(text))):
            if start > position:
                yield MarkedPiece(text[position:start], learned)
            if end > start:
                yield MarkedPiece(text[start:end], learned, MarkedKind.SPELLED)
            position = end


def _kind(place: tuple[int, tuple[TokenText, int]]) -> tuple[bool, bool, int]:
    """What neighbours have in common; nothing, for a control token."""
    index, (token, label) = place
    return label != IGNORE_INDEX, token.control, index if token.control else -1


def _joined(tokens: list[TokenText]) -> str:
    """The text of neighbours, with the characters that some share once."""
    return "".join(
        token.text
        for i, token in enumerate(tokens)
        if i == 0 or (token.start, token.end) != (tokens[i - 1].start, tokens[i - 1].end)
    )


def _token_json(token: TokenText, label: int) -> dict[str, object]:
    return {
        "id": token.token_id,
        "text": token.text,
        "start": token.start,
        "end": token.end,
        "learned": label != IGNORE_INDEX,
        "control": token.control,
    }
