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
        self._anchor_text = tokenizer.decode(self._anchor)
        self._known: dict[int, str] = {}

    def of(self, ids: Sequence[int]) -> tuple[TokenText, ...]:
        """The tokens of a row."""
        tokens: list[TokenText] = []
        position = 0
        for group, text, is_control in self._groups(ids):
            end = position + len(text)
            tokens += [TokenText(each, text, position, end, is_control) for each in group]
            position = end
        return tuple(tokens)

    def inside(self, token_id: int) -> str:
        """The text of one token as it is inside a text; of a control token, its name."""
        name = self._controls.get(token_id)
        return self._text((token_id,), is_first=False) if name is None else name

    def _groups(self, ids: Sequence[int]) -> Iterator[tuple[tuple[int, ...], str, bool]]:
        """Ids in groups that make whole characters, with their text and whether it is control."""
        group: tuple[int, ...] = ()
        for i, token_id in enumerate(ids):
            name = self._controls.get(token_id)
            if name is not None:
                yield (token_id,), name, True
                continue
            group = (*group, token_id)
            text = self._text(group, is_first=i < len(group))
            ends = i + 1 == len(ids) or ids[i + 1] in self._controls
            if text.endswith(_INCOMPLETE) and len(group) < _MOST_TOKENS_A_CHARACTER and not ends:
                continue
            yield group, text, False
            group = ()

    def _text(self, group: tuple[int, ...], *, is_first: bool) -> str:
        """The text of ids, in front of a row or inside it."""
        if is_first:
            return self._tokenizer.decode(group)
        if len(group) == 1 and group[0] in self._known:
            return self._known[group[0]]
        whole, before = self._tokenizer.decode((*self._anchor, *group)), self._anchor_text
        inside = whole.startswith(before)
        text = whole[len(before) :] if inside else self._tokenizer.decode(group)
        if len(group) == 1:
            self._known[group[0]] = text
        return text


def control_names(tokenizer: TextTokenizer) -> Mapping[int, str]:
    """Text of every control token by its id."""
    names: Collection[str] = CONTROL_TOKENS
    if isinstance(tokenizer, RenderTokenizer):
        names = tokenizer.control_tokens
    found = ((tokenizer.control_id(name), name) for name in names)
    return {token_id: name for token_id, name in found if token_id is not None}
