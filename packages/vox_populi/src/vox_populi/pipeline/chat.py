"""A conversation with a model: its protocol, and the function that opens one. No torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from vox_populi.pipeline.generate import GenerateRequest, GenerateResult, refuse_answers_early
from vox_populi.pipeline.runners import load_runner


class Conversation(Protocol):
    """Messages and answers so far, with the model that gives the next one."""

    model: str
    """Name of the base folder."""
    notes: tuple[str, ...]
    """Notes about the weights."""

    def answer(self, text: str, on_text: Callable[[str], None]) -> GenerateResult:
        """Answer a message; `on_text` receives the answer piece by piece.

        Ctrl-C ends the answer, not the chat: the text so far stays in the conversation.

        Raises:
            DataError: When the conversation leaves no room for an answer; the message is then
                not part of it.
            EnvironmentFailure: When memory runs out or the device fails.
        """
        ...

    def reset(self) -> None:
        """Clear the conversation."""
        ...


def open_chat(request: GenerateRequest) -> Conversation:
    """Load the weights for a conversation; the request's prompts are ignored.

    Raises:
        VoxError: For unusable weights or settings.
    """
    module = load_runner("chat_run", lambda: refuse_answers_early(request))
    conversation: Conversation = module.open_chat(request)
    return conversation
