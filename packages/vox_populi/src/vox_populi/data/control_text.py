"""What happens with a row whose text spells a control token, and whether one does."""

from __future__ import annotations

from enum import StrEnum

from vox_populi.data.control_spelling import spelling_of
from vox_populi.data.row_texts import row_texts
from vox_tensor.records import TrainingRecord
from vox_tensor.tokenizer import CONTROL_TOKENS, TextTokenizer


class ControlText(StrEnum):
    """What becomes of text that spells a control token."""

    TEXT = "text"
    """It stays text."""
    ERROR = "error"
    """The row is refused."""
    SKIP = "skip"
    """The row is left out, and counted."""
    KEEP = "keep"
    """It becomes the control token, as on a server that reads control tokens in messages."""


def spells_control(record: TrainingRecord, tokenizer: TextTokenizer) -> bool:
    """Whether a text of the row spells a control token."""
    # Asked for every row: `isinstance` would look at every member of a protocol.
    names = getattr(tokenizer, "control_tokens", CONTROL_TOKENS)
    return any(map(spelling_of(tuple(names)).occurs_in, row_texts(record)))
