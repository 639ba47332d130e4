"""ChatML and the plain layout with a base's own tokenizer: the whole text is encoded once.

Merges, the spaces of SentencePiece and BOS are those that a server makes of the same text. Our own
vocabulary is encoded piece by piece instead (`supervision`), as it always was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vox_populi.data.control_spelling import spelling_of
from vox_populi.data.control_text import ControlText
from vox_populi.data.template_rows import RenderTokenizer
from vox_populi.data.trained_layout import TrainedLayout
from vox_populi.data.training_text import END_OF_TEXT, TextPolicy, training_pieces
from vox_populi.errors import DataError
from vox_populi.operator_messages import data as say
from vox_tensor.chat_markup import IM_END, IM_START, Piece, PieceKind
from vox_tensor.records import IGNORE_INDEX, EncodedRow, Message, TrainingRecord
from vox_tensor.token_places import Span, tokens_of


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutEncoder:
    """A layout of ours with the tokenizer of a base."""

    tokenizer: RenderTokenizer
    policy: TextPolicy
    layout: TrainedLayout

    def row(
        self, record: TrainingRecord, max_tokens: int | None = None, where: str = ""
    ) -> EncodedRow:
        """A conversation as one row.

        Raises:
            DataError: For a message with a marker that this tokenizer has only as text.
        """
        pieces = list(training_pieces(record.messages, self.policy))
        ids, places, spans = self._encoded(pieces, f"{where}:{record.line}")
        labels = [IGNORE_INDEX] * len(ids)
        for piece, span in zip(pieces, spans, strict=True):
            if piece.learn:
                first, last = tokens_of(span, places)
                labels[first:last] = ids[first:last]
        bos = self._bos()
        ids, labels = [*bos, *ids], [*(IGNORE_INDEX for _ in bos), *labels]
        return EncodedRow(
            tuple(ids[:max_tokens]), tuple(labels[:max_tokens]), record.line, record.weight
        )

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """Ids up to where an assistant's answer starts.

        Raises:
            DataError: As for `row`.
        """
        pieces = list(training_pieces(messages, self.policy, open_assistant=True))
        return [*self._bos(), *self._encoded(pieces, "the prompt")[0]]

    def end_of_answer_id(self) -> int:
        """The id that ends an answer."""
        return self.layout.end.id

    def _bos(self) -> list[int]:
        """The ids before the encoded text, as the post-processor adds them."""
        return [] if self.layout.bos is None else [self.layout.bos.id]

    def _encoded(
        self, pieces: Sequence[Piece], place: str
    ) -> tuple[list[int], Sequence[Span], list[Span]]:
        """Ids without BOS, the characters of each, and the characters of each piece."""
        self._refuse_markers(pieces, place)
        spans: list[Span] = []
        text = ""
        for piece in pieces:
            start = len(text)
            text += self._spelled(piece)
            spans.append((start, len(text)))
        ids, places = self.tokenizer.encode_rendered(text, self._typed(text, pieces, spans))
        return ids, places, spans

    def _typed(self, text: str, pieces: Sequence[Piece], spans: Sequence[Span]) -> Sequence[Span]:
        """The characters of text pieces, if any of them could be read as a control token.

        None of them, where such text becomes the token.
        """
        written = {
            span
            for piece, span in zip(pieces, spans, strict=True)
            if piece.kind is PieceKind.CONTROL
        }
        if self.policy.on_control_text is ControlText.KEEP:
            return ()
        found = spelling_of(tuple(self.tokenizer.control_tokens)).places(text)
        if all(each in written for each in found):
            return ()
        return [span for span in spans if span not in written]

    def _spelled(self, piece: Piece) -> str:
        """A piece as it is in the text; what ends an answer may be another token of the base."""
        if piece.kind is PieceKind.CONTROL and piece.text in (END_OF_TEXT, IM_END):
            return self.layout.end.text
        return piece.text

    def _refuse_markers(self, pieces: Sequence[Piece], place: str) -> None:
        """Refuse text that spells a marker which is itself only text in this vocabulary."""
        if self.policy.on_control_text is ControlText.KEEP:
            return
        used = {self._spelled(piece) for piece in pieces if piece.kind is PieceKind.CONTROL}
        written = tuple(
            each for each in (IM_START, IM_END) if each in used and not self._is_control(each)
        )
        for piece in pieces:
            if piece.kind is PieceKind.TEXT and any(each in piece.text for each in written):
                raise DataError(say.marker_in_text(written).at(place))

    def _is_control(self, marker: str) -> bool:
        return marker in self.tokenizer.control_tokens
