"""Conversations under a model's own template: the ids a server would make, and which are learned.

A conversation is rendered whole and encoded once. What is learned is decided by characters: the
template's own generation blocks if it has them, otherwise what an assistant's message adds to the
text with an open answer. A token is learned if any of its characters is, so a token across the
border between prompt and answer belongs to the answer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from vox_populi.data.chat_template import ModelTemplate, RenderedChat, TemplateMessage
from vox_populi.data.learned_parts import answers_of, is_learned
from vox_populi.data.template_messages import Tools, template_turns
from vox_populi.data.typed_controls import typed_controls
from vox_populi.errors import DataError, ModelError
from vox_populi.operator_messages import chat_template as say
from vox_tensor.records import IGNORE_INDEX, EncodedRow, Message, Role, TrainingRecord
from vox_tensor.token_places import Span, tokens_of


@runtime_checkable
class RenderTokenizer(Protocol):
    """What encoding a rendered conversation needs from a tokenizer."""

    @property
    def control_tokens(self) -> Collection[str]:
        """Text of every control token."""

    @property
    def control_ids(self) -> Collection[int]:
        """Id of every control token."""

    @property
    def bos_id(self) -> int | None:
        """The token that the tokenizer puts in front of a text, if it puts one there."""

    def token_text(self, token_id: int) -> str:
        """The text of one token as its vocabulary has it."""

    def encode_rendered(
        self, text: str, typed: Sequence[Span] = ()
    ) -> tuple[list[int], Sequence[Span]]:
        """Ids and the characters of each; `typed` characters are never part of a control token."""


class History(StrEnum):
    """What happens to a conversation whose earlier turns the template writes differently later."""

    ERROR = "error"
    """The row is refused."""
    LAST = "last"
    """Only the answers are learned that are the same in the whole conversation; at least the
    last one."""
    SPLIT = "split"
    """Each answer is a row of its own, laid out as it would be at that turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateEncoder:
    """A model's own template with its tokenizer."""

    template: ModelTemplate
    tokenizer: RenderTokenizer
    history: History = History.ERROR
    system_prompt: str | None = None
    """System prompt for conversations without a system message."""
    keeps_control_text: bool = False
    """Whether text of a row that spells a control token becomes that token."""

    def row(
        self, record: TrainingRecord, max_tokens: int | None = None, where: str = ""
    ) -> EncodedRow:
        """A conversation as one row.

        Args:
            record: The conversation.
            max_tokens: Number of tokens to keep, from the start of the row.
            where: Name of the row's file, for messages.

        Returns:
            Ids and unshifted labels (see `EncodedRow`).

        Raises:
            DataError: When the template refuses the row or its learned text cannot be told.
        """
        messages, place = record.messages, f"{where}:{record.line}"
        turns = self._turns(messages, record.tools, place)
        shift = len(turns) - len(messages)
        learned = [i for i, message in enumerate(messages) if is_learned(message)]
        rendered, ids, offsets = self._encoded(turns, record.tools, place)
        spans = self._answers(turns, record.tools, rendered, [i + shift for i in learned], place)
        labels = [IGNORE_INDEX] * len(ids)
        for message, span in zip(learned, spans, strict=True):
            if span is None:
                continue
            first, last = self._with_end(tokens_of(span, offsets), ids, message, place)
            labels[first:last] = ids[first:last]
        return EncodedRow(
            tuple(ids[:max_tokens]), tuple(labels[:max_tokens]), record.line, record.weight
        )

    def split(self, record: TrainingRecord, where: str = "") -> tuple[EncodedRow, ...]:
        """Each learned answer as a row of its own, rendered as it would be at that turn.

        Raises:
            DataError: As for `row`.
        """
        return tuple(self.row(part, where=where) for part in answers_of(record))

    def prompt(self, messages: Sequence[Message], tools: Tools = ()) -> list[int]:
        """Ids up to where an assistant's answer starts.

        Args:
            messages: The conversation so far.
            tools: Definitions of the tools that can be called.

        Raises:
            DataError: When the template refuses the messages.
        """
        place = "the prompt"
        turns = self._turns(messages, tools, place)
        return self._encoded(turns, tools, place, open_assistant=True)[1]

    def end_of_answer_id(self) -> int:
        """The id that ends an answer under this template.

        Raises:
            ModelError: When there is none.
        """
        probe = (Message(Role.USER, "U"), Message(Role.ASSISTANT, "A"))
        try:
            row = self.row(TrainingRecord(messages=probe, line=0))
        except DataError as error:
            where = self.template.where
            raise ModelError(*error.problems, say.TEMPLATE_HAS_NO_END.at(where)) from None
        controls = self.tokenizer.control_ids
        return next(label for label in reversed(row.labels) if label in controls)

    def _turns(
        self, messages: Sequence[Message], tools: Tools, place: str
    ) -> list[TemplateMessage]:
        turns = template_turns(messages, tools, self.template, place)
        has_system = any(message.role is Role.SYSTEM for message in messages)
        if self.system_prompt and not has_system:
            turns.insert(0, {"role": Role.SYSTEM.value, "content": self.system_prompt})
        return turns

    def _encoded(
        self,
        turns: Sequence[TemplateMessage],
        tools: Tools,
        place: str,
        *,
        open_assistant: bool = False,
    ) -> tuple[RenderedChat, list[int], Sequence[Span]]:
        rendered = self.template.render(
            turns, tools=tools or None, open_assistant=open_assistant, place=place
        )
        if self.keeps_control_text:
            return rendered, *self.tokenizer.encode_rendered(rendered.text)
        typed = typed_controls(
            self.template,
            turns,
            tools,
            rendered,
            self.tokenizer.control_tokens,
            open_assistant=open_assistant,
            place=place,
        )
        ids, offsets = self.tokenizer.encode_rendered(rendered.text, typed)
        controls = self.tokenizer.control_ids
        for token_id, (start, end) in zip(ids, offsets, strict=True) if typed else ():
            if token_id in controls and any(start <= a < end for a, _ in typed):
                raise DataError(say.TEXT_MAKES_CONTROL_TOKEN.at(place))
        return rendered, ids, offsets

    def _answers(
        self,
        turns: Sequence[TemplateMessage],
        tools: Tools,
        rendered: RenderedChat,
        learned: Sequence[int],
        place: str,
    ) -> list[Span | None]:
        """The characters of each learned answer; `None` for one that is rewritten later."""
        if not learned:
            return []
        if not self.template.marks_generated:
            spans = [self._added_by(turns, tools, i, rendered.text, place) for i in learned]
            if None in spans and (self.history is History.ERROR or spans[-1] is None):
                raise DataError(say.history_changes(learned[spans.index(None)]).at(place))
            return spans
        answers = [i for i, turn in enumerate(turns) if turn["role"] == Role.ASSISTANT]
        blocks = rendered.generated
        if len(blocks) == len(answers):
            return [blocks[answers.index(i)] for i in learned]
        raise DataError(say.blocks_do_not_match(len(blocks), len(answers)).at(place))

    def _added_by(
        self, turns: Sequence[TemplateMessage], tools: Tools, index: int, whole: str, place: str
    ) -> Span | None:
        """What message `index` adds to the text in which an answer was open, if it only adds."""

        def rendered(end: int, *, is_open: bool = False) -> str:
            return self.template.render(
                turns[:end], tools=tools or None, open_assistant=is_open, place=place
            ).text

        prompt = rendered(index, is_open=True)
        until = whole if index + 1 == len(turns) else rendered(index + 1)
        start = _start_of_answer(until, prompt)
        closed = _without_opening(until, prompt, self.tokenizer.control_tokens)
        for end in _ends(closed, self.tokenizer.control_tokens):
            if start is not None and start <= end and whole.startswith(until[:end]):
                return start, end
        return None

    def _with_end(self, span: Span, ids: Sequence[int], message: int, place: str) -> Span:
        """A span of tokens that includes the control token at its end."""
        first, last = span
        controls = self.tokenizer.control_ids
        if any(token_id in controls for token_id in ids[first:last][-_MOST_BLANKS:]):
            return span
        for i in range(last, min(last + _MOST_BLANKS, len(ids))):
            if ids[i] in controls:
                return first, i + 1
        raise DataError(say.no_end_after(message).at(place))


_MOST_BLANKS = 3
"""Tokens of line ends and spaces that may be between an answer and its end."""
_LONGEST_OPENING = 200
"""Characters of markup with which an answer opens."""


def _start_of_answer(text: str, prompt: str) -> int | None:
    """Find where an answer starts in a text that begins with the prompt, blanks aside.

    Some templates write a blank after the answer of a tool only if another message follows.
    """
    if text.startswith(prompt):
        return len(prompt)
    differ = (i for i, (a, b) in enumerate(zip(text, prompt, strict=False)) if a != b)
    same = next(differ, min(len(text), len(prompt)))
    tail = prompt[same:]
    position = same
    for letter in "".join(tail.split()):
        while text[position : position + 1].isspace():
            position += 1
        if text[position : position + 1] != letter:
            return None
        position += 1
    blanks = tail[len(tail.rstrip()) :]
    return position + len(blanks) if text.startswith(blanks, position) else None


def _without_opening(text: str, prompt: str, controls: Collection[str]) -> str:
    """A text without a next answer's opening, which some templates write after every message.

    It begins at a control token and is what the prompt ends with.
    """
    most = min(len(text) - len(prompt), _LONGEST_OPENING, len(prompt))
    shared = 0
    while shared < most and text[-1 - shared] == prompt[-1 - shared]:
        shared += 1
    if shared:
        known = tuple(controls)
        for start in range(len(text) - shared, len(text)):
            if text.startswith(known, start):
                return text[:start]
    return text


def _ends(text: str, controls: Collection[str]) -> Iterator[int]:
    """The end of a text, and where it ends without control tokens that close a conversation."""
    known = tuple(controls)
    while True:
        yield len(text)
        bare = text.rstrip()
        if not bare.endswith(known):
            return
        text = bare[: -max(len(each) for each in known if bare.endswith(each))]
