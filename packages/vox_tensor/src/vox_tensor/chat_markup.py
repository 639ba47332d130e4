"""ChatML: messages as one string, and as the pieces from which ids and masks are made. No torch.

Layout of a turn: `<|im_start|>`, role, newline, content, `<|im_end|>`; there is a newline between
turns and none after the last.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from vox_tensor.records import Message, Role

IM_START = "<|im_start|>"
IM_END = "<|im_end|>"


class PieceKind(StrEnum):
    """Whether a piece stands for one control token or for text."""

    CONTROL = "control"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a conversation that is tokenised on its own.

    Only `CONTROL` pieces may become control tokens; what users wrote is always `TEXT`, even
    if it spells one.
    """

    kind: PieceKind
    text: str
    learn: bool = False
    """Whether its tokens are supervised."""


def chatml_pieces(messages: Iterable[Message], open_assistant: bool = False) -> Iterator[Piece]:
    """Cut a conversation into pieces, in order.

    The content of each assistant message with `learn` is supervised, and so is the `<|im_end|>`
    that closes it: a model that is not taught to stop will not stop.

    Args:
        messages: The turns.
        open_assistant: End with the header of an assistant turn, for the model to continue.
    """
    separator = ""
    for message in messages:
        yield from _header(message.role, separator)
        learn = message.role is Role.ASSISTANT and message.learn
        if message.content:
            yield Piece(PieceKind.TEXT, message.content, learn)
        yield Piece(PieceKind.CONTROL, IM_END, learn)
        separator = "\n"
    if open_assistant:
        yield from _header(Role.ASSISTANT, separator)


def render_chatml(messages: Iterable[Message], open_assistant: bool = False) -> str:
    """A conversation as one string, for display only: ids are made from `chatml_pieces`."""
    return "".join(piece.text for piece in chatml_pieces(messages, open_assistant))


def chatml_prefix_open_assistant(system: str, user: str) -> str:
    """A prompt: system turn, user turn, header of the assistant's turn."""
    return render_chatml(_prompt(system, user), open_assistant=True)


def chatml_supervised_text(system: str, user: str, assistant: str) -> str:
    """A training row; starts with the result of `chatml_prefix_open_assistant`."""
    return render_chatml((*_prompt(system, user), Message(Role.ASSISTANT, assistant)))


def plain_system_prompt_response(system: str, prompt: str, response: str) -> str:
    """The source system's rendering without markup: three parts on separate lines."""
    return f"{system}\n{prompt}\n{response}"


def _prompt(system: str, user: str) -> tuple[Message, Message]:
    return Message(Role.SYSTEM, system), Message(Role.USER, user)


def _header(role: Role, separator: str) -> Iterator[Piece]:
    if separator:
        yield Piece(PieceKind.TEXT, separator)
    yield Piece(PieceKind.CONTROL, IM_START)
    yield Piece(PieceKind.TEXT, f"{role}\n")
