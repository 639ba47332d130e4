"""The text that each id of a row stands for: what the ids say, not what they were made from.

Tokens are decoded one after the other in their context, so that spaces of SentencePiece are shown
and a character that is split between tokens is whole.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vox_populi.data.template_rows import RenderTokenizer
from vox_tensor.tokenizer import CONTROL_TOKENS, TextTokenizer

_INCOMPLETE = "\ufffd"
_MOST_TOKENS_A_CHARACTER = 4


@dataclass(frozen=True, slots=True)
class TokenText:
    """One token of a row; the texts of a row, one after the other, are its whole text."""

    token_id: int
    text: str
    start: int
    """First of its characters in the row's text. Tokens that share a character have the same
    span."""
    end: int
    control: bool = False
    """Whether it is a control token, not text that spells one."""


class TokenTexts:
    """Turns ids into text with one tokenizer."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._controls = control_names(tokenizer)
        # Some decoders drop the space of a first token; after this one, none is the first.
        self._anchor = tuple(tokenizer.encode("a")[-1:])

    def of(self, ids: Sequence[int]) -> tuple[TokenText, ...]:
        """The tokens of a row."""
        tokens: list[TokenText] = []
        position = first = 0
        for i, token_id in enumerate((*ids, None)):
            name = self._controls.get(token_id) if token_id is not None else ""
            if name is None:
                continue
            for group, text in self._groups(ids[first:i], self._anchor if first else ()):
                end = position + len(text)
                tokens += [TokenText(each, text, position, end) for each in group]
                position = end
            if token_id is not None:
                tokens.append(TokenText(token_id, name, position, position + len(name), True))
                position += len(name)
            first = i + 1
        return tuple(tokens)

    def _groups(
        self, ids: Sequence[int], context: tuple[int, ...]
    ) -> Iterator[tuple[tuple[int, ...], str]]:
        """Ordinary ids in groups that make whole characters, with their text."""
        decode = self._tokenizer.decode
        known = decode(context)
        group: tuple[int, ...] = ()
        for i, token_id in enumerate(ids):
            group = (*group, token_id)
            whole = decode((*context, *group))
            text = whole[len(known) :] if whole.startswith(known) else decode(group)
            is_last = i + 1 == len(ids) or len(group) == _MOST_TOKENS_A_CHARACTER
            if text.endswith(_INCOMPLETE) and not is_last:
                continue
            yield group, text
            context, known, group = group, decode(group), ()


def control_names(tokenizer: TextTokenizer) -> Mapping[int, str]:
    """Text of every control token by its id."""
    names: Collection[str] = CONTROL_TOKENS
    if isinstance(tokenizer, RenderTokenizer):
        names = tokenizer.control_tokens
    found = ((tokenizer.control_id(name), name) for name in names)
    return {token_id: name for token_id, name in found if token_id is not None}
