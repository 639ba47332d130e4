"""A model as a request sees it: its name, its text format, its facts. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vox_populi.data.supervision import encode_prompt, encode_text_start
from vox_populi.data.template_messages import Tools
from vox_populi.data.token_text import TokenTexts
from vox_populi.data.training_text import TextPolicy
from vox_tensor.records import Message
from vox_tensor.tokenizer import TextTokenizer

_INCOMPLETE = "\ufffd"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedModel:
    """A base, or a base with an adapter, with the text format of its training."""

    name: str
    tokenizer: TextTokenizer
    policy: TextPolicy
    max_positions: int
    vocab_size: int
    """Rows of the embedding."""
    facts: Mapping[str, object]
    """What `/v1/models` tells of it beyond its name."""
    texts: TokenTexts = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "texts", TokenTexts(self.tokenizer))

    def encode_chat(self, messages: Sequence[Message], tools: Tools) -> list[int]:
        """Ids of a conversation up to where the answer starts.

        Raises:
            DataError: When the template or the tokenizer refuses it.
        """
        return encode_prompt(messages, self.tokenizer, self.policy, tools)

    def encode_text(self, text: str) -> list[int]:
        """Ids of a text to continue, as it would start a row without turns.

        Raises:
            DataError: When it cannot be encoded.
        """
        return encode_text_start(text, self.tokenizer, self.policy)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of an answer."""
        return self.tokenizer.decode(ids)

    def token(self, token_id: int) -> tuple[str, list[int] | None]:
        """A token's text, and its bytes unless it is a part of a character."""
        text = self.texts.inside(token_id)
        return text, None if _INCOMPLETE in text else list(text.encode())
