"""The text of a row under each template, as pieces that are tokenised one by one.

ChatML itself is in `vox_tensor.chat_markup`; here are the choice of template, the system prompt
and the digest of both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from vox_populi.data.chat_template import DEFAULT_DAY, ModelTemplate
from vox_populi.data.control_text import ControlText
from vox_populi.data.learned_parts import LearnedParts
from vox_populi.data.template_rows import History
from vox_populi.data.trained_layout import TrainedLayout
from vox_populi.files.json_fields import FieldError, take_member
from vox_tensor.chat_markup import Piece, PieceKind, chatml_pieces
from vox_tensor.records import Message, Role

END_OF_TEXT = "<|endoftext|>"
"""End of an answer in the plain layout; represents the tokenizer's own end token."""


class ChatTemplate(StrEnum):
    """How messages are formatted as text."""

    CHATML = "chatml"
    """Turns between `<|im_start|>` and `<|im_end|>`."""
    PLAIN = "plain"
    """The contents on separate lines, without roles."""
    MODEL = "model"
    """The base's own chat template, as a server renders it."""
    FILE = "file"
    """A Jinja template that the request named: a file, or one of the base's by its name."""
    AUTO = "auto"
    """One of the others, chosen by the base; nothing is laid out or recorded with this word."""

    @property
    def is_rendered(self) -> bool:
        """Whether a Jinja template makes the text."""
        return self in (ChatTemplate.MODEL, ChatTemplate.FILE)


@dataclass(frozen=True, slots=True)
class TemplatePlace:
    """A template that a request names by its place; it is recorded as `ChatTemplate.FILE`."""

    file: Path | None = None
    name: str | None = None
    """Name of one of the base's own templates."""

    def __str__(self) -> str:
        return f"{ChatTemplate.MODEL}:{self.name}" if self.file is None else str(self.file)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPolicy:
    """Everything besides the row that decides its text."""

    template: ChatTemplate | TemplatePlace = ChatTemplate.CHATML
    system_prompt: str | None = None
    """System prompt for conversations without a system message."""
    history: History = History.ERROR
    """How `ChatTemplate.MODEL` learns answers that the template rewrites once others follow."""
    learn: LearnedParts = LearnedParts.ANSWERS
    """What is learned of a row; not part of its text."""
    on_control_text: ControlText = ControlText.TEXT
    """What happens with text of a row that spells a control token."""
    template_date: str = DEFAULT_DAY
    """The date that a Jinja template prints, as YYYY-MM-DD."""
    own: ModelTemplate | None = None
    """The Jinja template; `None` until the base is known, and for the layouts without one."""
    layout: TrainedLayout | None = None
    """BOS and end token for the other two, if the base's own tokenizer encodes the whole text;
    `None` for our vocabulary, and for adapters of older versions: then each piece is encoded."""

    @property
    def kind(self) -> ChatTemplate:
        """The template, once the base is known."""
        assert isinstance(self.template, ChatTemplate), "`choose_template` replaces a place"
        return self.template

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of layout and system prompt."""
        if self.kind.is_rendered:
            return _digest([None if self.own is None else self.own.digest, self.system_prompt])
        return _layout_digest(self.kind, self.layout, self.system_prompt)


def withholds_prompt(template: ChatTemplate, layout: TrainedLayout | None, digest: str) -> bool:
    """Whether text that is recorded without a system prompt had one.

    Args:
        template: The recorded template.
        layout: The recorded layout; older files have none, and then the digest of a model's own
            template is not known.
        digest: The recorded `TextPolicy.digest`.
    """
    if not template.is_rendered:
        return _layout_digest(template, layout, None) != digest
    source = None if layout is None else layout.template
    return source is not None and _digest([source.digest, None]) != digest


def take_template(raw: Mapping[str, object]) -> ChatTemplate:
    """Read the field `template`.

    Raises:
        FieldError: For a word that is not the name of a template.
    """
    template = take_member(raw, "template", ChatTemplate)
    if template is ChatTemplate.AUTO:
        message = "template is 'auto', which is not what a training used"
        raise FieldError(message)
    return template


def training_pieces(
    messages: Sequence[Message], policy: TextPolicy, *, open_assistant: bool = False
) -> Iterator[Piece]:
    """Cut a conversation into the pieces whose ids a model sees, in order.

    The content of each assistant message with `learn` is supervised, and so is the end marker:
    a model that is not taught to stop will not stop. Reasoning precedes the content of its
    message, between `<think>` and `</think>`, in every turn.

    Args:
        messages: The turns.
        policy: Template and system prompt.
        open_assistant: End where an assistant's answer starts, for the model to continue.
    """
    assert not policy.kind.is_rendered, "it is rendered whole"
    assert policy.kind is not ChatTemplate.AUTO, "`choose_template` replaces it"
    turns = _with_system(_with_reasoning(messages), policy.system_prompt)
    if policy.template is ChatTemplate.CHATML:
        return chatml_pieces(turns, open_assistant)
    return _plain_pieces(turns, open_assistant)


def template_digest(template: ChatTemplate) -> str:
    """`sha256:` and the hash of a template's output for fixed conversations.

    It changes only when a marker, a separator or the extent of what is learned changes; an
    adapter trained with a different digest expects different text.
    """
    policy = TextPolicy(template=template)
    laid_out = [
        list(_as_json(training_pieces(probe, policy, open_assistant=open_assistant)))
        for probe in _PROBES
        for open_assistant in (False, True)
    ]
    return _digest([template, laid_out])


_PROBES = (
    (Message(Role.USER, "U"), Message(Role.ASSISTANT, "A")),
    (
        Message(Role.SYSTEM, "S"),
        Message(Role.USER, "U"),
        Message(Role.ASSISTANT, "A", learn=False),
        Message(Role.TOOL, "T"),
        Message(Role.ASSISTANT, "A"),
        Message(Role.USER, "U"),
    ),
)


def _layout_digest(
    template: ChatTemplate, layout: TrainedLayout | None, system_prompt: str | None
) -> str:
    # Control text is no part of the layout: it is compared as the setting that it is.
    bare = None if layout is None else replace(layout, keeps_control_text=False)
    borders = [] if bare is None else [bare.as_json()]
    return _digest([template_digest(template), system_prompt, *borders])


def _with_reasoning(messages: Sequence[Message]) -> Sequence[Message]:
    """Reasoning as text before the content; these layouts have no other form for it."""
    if all(message.reasoning is None for message in messages):
        return messages
    return [
        message
        if message.reasoning is None
        else replace(
            message, content=f"<think>\n{message.reasoning}\n</think>\n\n{message.content}"
        )
        for message in messages
    ]


def _with_system(messages: Sequence[Message], system_prompt: str | None) -> Sequence[Message]:
    if not system_prompt or any(message.role is Role.SYSTEM for message in messages):
        return messages
    return (Message(Role.SYSTEM, system_prompt), *messages)


def _plain_pieces(messages: Sequence[Message], open_assistant: bool) -> Iterator[Piece]:
    separator = ""
    for message in messages:
        if separator:
            yield Piece(PieceKind.TEXT, separator)
        learn = message.role is Role.ASSISTANT and message.learn
        if message.content:
            yield Piece(PieceKind.TEXT, message.content, learn)
        if message.role is Role.ASSISTANT:
            yield Piece(PieceKind.CONTROL, END_OF_TEXT, learn)
        separator = "\n"
    if open_assistant and separator:
        yield Piece(PieceKind.TEXT, separator)


def _as_json(pieces: Iterator[Piece]) -> Iterator[list[object]]:
    return ([piece.kind, piece.text, piece.learn] for piece in pieces)


def _digest(content: object) -> str:
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()
