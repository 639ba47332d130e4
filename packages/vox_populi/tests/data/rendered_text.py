"""What a template makes of messages, as one string: ids are made piece by piece."""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.data.training_text import TextPolicy, training_pieces
from vox_tensor.records import Message


def render_training_text(
    messages: Sequence[Message], policy: TextPolicy, *, open_assistant: bool = False
) -> str:
    """The pieces as one string."""
    pieces = training_pieces(messages, policy, open_assistant=open_assistant)
    return "".join(piece.text for piece in pieces)
