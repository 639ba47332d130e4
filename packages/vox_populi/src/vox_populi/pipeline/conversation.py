"""A chat as its callers see it. No torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from vox_populi.pipeline.reports import GenerateResult


class Conversation(Protocol):
    """Messages and answers so far, with the model that gives the next one."""

    model: str
    """Name of the base folder."""
    notes: tuple[str, ...]
    """About the weights."""

    def answer(self, text: str, on_text: Callable[[str], None]) -> GenerateResult:
        """Answer a message; `on_text` gets the answer piece by piece.

        Ctrl-C ends the answer, not the chat: what there is of it counts as said.

        Raises:
            DataError: When the conversation leaves no room for an answer; the message is then
                no part of it.
            EnvironmentFailure: When memory is used up or the device fails.
        """
        ...

    def reset(self) -> None:
        """Forget what was said."""
        ...
