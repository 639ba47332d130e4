"""Encoding a rendered conversation whole: the template's control tokens count, a row's do not.

The text is encoded once, as a server encodes it, so that merges, SentencePiece's spaces and BOS
are a server's. Only where a row spells a control token is the stretch between two of the
template's own control tokens encoded again, with those tokens taken as text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from vox_populi import extras
from vox_populi.hf.word_table import LazyTable
from vox_tensor.token_places import Span

_SENTINEL = "\U000f0000vox\U000f0000"
"""A token that only the second tokenizer has: text after it is text after a control token."""


class RenderedTextEncoder:
    """Two copies of a tokenizer: in one control tokens are tokens, in the other text.

    Args:
        tokenizer: A `tokenizers.Tokenizer`.
        controls: Its control tokens and their ids.
    """

    __slots__ = ("_as_markup", "_controls", "_held_as_text", "_table")

    def __init__(self, tokenizer: Any, controls: Mapping[str, int]) -> None:
        self._controls = {token_id: token for token, token_id in controls.items()}
        library = extras.load("tokenizers")
        definition = json.loads(tokenizer.to_str())
        _keep_blanks_in_offsets(definition)
        text = json.dumps(definition, ensure_ascii=False)
        self._as_markup = library.Tokenizer.from_str(text)
        known = {each.content for each in self._as_markup.get_added_tokens_decoder().values()}
        named = [
            library.AddedToken(each, normalized=False, special=True)
            for each in controls
            if each not in known
        ]
        self._as_markup.add_special_tokens(named)
        self._held_as_text: Any = None
        self._table = LazyTable(self._as_markup)

    @property
    def _as_text(self) -> Any:
        """Made when a row first spells a control token: most data never does."""
        if self._held_as_text is None:
            library = extras.load("tokenizers")
            self._held_as_text = library.Tokenizer.from_str(self._as_markup.to_str())
            self._held_as_text.encode_special_tokens = True
            sentinel = library.AddedToken(_SENTINEL, normalized=False, special=False)
            self._held_as_text.add_tokens([sentinel])
        return self._held_as_text

    def encode(self, text: str, typed: Sequence[Span]) -> tuple[list[int], Sequence[Span]]:
        """Ids and the characters that each id stands for.

        Args:
            text: The rendered conversation.
            typed: Characters that came with the row; no control token may contain one.
        """
        table = None if typed else self._table.after(len(text))
        found = None if table is None else table.placed(text)
        if found is not None:
            return found
        encoding = self._as_markup.encode(text, add_special_tokens=False)
        ids, offsets = list(encoding.ids), list(encoding.offsets)
        forged = {
            i
            for i, token_id in enumerate(ids)
            if token_id in self._controls
            and any(_overlap(self._core(text, offsets[i], token_id), span) for span in typed)
        }
        if not forged:
            return ids, offsets
        real = [
            i for i, token_id in enumerate(ids) if token_id in self._controls and i not in forged
        ]
        new_ids: list[int] = []
        new_offsets: list[Span] = []
        for before, after in zip([None, *real], [*real, None], strict=True):
            first = 0 if before is None else before + 1
            last = len(ids) if after is None else after
            part_ids, part_offsets = ids[first:last], offsets[first:last]
            if not forged.isdisjoint(range(first, last)):
                start = 0 if before is None else offsets[before][1]
                end = len(text) if after is None else offsets[after][0]
                part_ids, part_offsets = self._plain(text, start, end)
            new_ids += part_ids
            new_offsets += part_offsets
            if after is not None:
                new_ids.append(ids[after])
                new_offsets.append(offsets[after])
        return new_ids, new_offsets

    def _plain(self, text: str, start: int, end: int) -> tuple[list[int], list[Span]]:
        """A stretch as text; after a control token, unless it is the beginning."""
        lead = _SENTINEL if start else ""
        encoding = self._as_text.encode(lead + text[start:end], add_special_tokens=False)
        shift = start - len(lead)
        skipped = 1 if lead else 0
        offsets = [(a + shift, b + shift) for a, b in encoding.offsets[skipped:]]
        return list(encoding.ids[skipped:]), offsets

    def _core(self, text: str, span: Span, token_id: int) -> Span:
        """The token's own characters, without the blanks beside it that it swallows."""
        token = self._controls[token_id]
        start = text.find(token, *span)
        return span if start < 0 else (start, start + len(token))


def _overlap(one: Span, other: Span) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _keep_blanks_in_offsets(definition: object) -> None:
    """Count a token's leading blank among its characters; the ids stay what they are."""
    if isinstance(definition, dict):
        for key, value in definition.items():
            if key == "trim_offsets":
                definition[key] = False
            elif key in {"pre_tokenizer", "post_processor", "pretokenizers", "processors"}:
                _keep_blanks_in_offsets(value)
    elif isinstance(definition, list):
        for each in definition:
            _keep_blanks_in_offsets(each)
