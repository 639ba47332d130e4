"""Ids of text by looking up its words, which is several times as fast as encoding it whole.

Byte-level tokenizers cut text into words before they merge anything, and words repeat. The table
holds the ids of each word that was seen; a new one is encoded by the library. Text that might be
cut in another way stays together: a stretch with characters beyond ASCII, up to the next blank,
is one word here. A table exists only for patterns that are known, and only
after it has cut a sample with every pair of ASCII characters as the library does.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate, chain, product
from typing import Any, overload

from vox_populi.hf.word_patterns import word_pattern
from vox_tensor.token_places import Span, TokenPlaces, tokens_of

_FEW_CHARACTERS = 250_000
"""Making a table takes as long as encoding about this many without one."""
_MOST_WORDS = 2**16
"""Words in a table, about 250 bytes each; a full one is emptied."""
_LONGEST = 64
"""Characters of the longest word that is kept."""
_BORDER = re.compile(r"(?<=[!-~])(?= [!-~])")
"""A place at which a word ends, whatever the rest of the text is; see `word_patterns`."""
_ASCII = tuple(map(chr, range(128)))


class WordTable:
    """Ids of words, for one tokenizer.

    Args:
        tokenizer: A `tokenizers.Tokenizer` that cuts text as `find_words` does.
        find_words: Cuts ASCII text into words.
        added: Id of each token that is found in the text before it is cut.
        taken_as_text: Tokens that the tokenizer takes as text.
    """

    def __init__(
        self,
        tokenizer: Any,
        find_words: Callable[[str], list[str]],
        added: Mapping[str, int],
        taken_as_text: Sequence[str] = (),
    ) -> None:
        self._find_words = find_words
        self._split_added = _any_of(added, "({})").split
        self._find_unusual = _any_of(taken_as_text, "{}").search if taken_as_text else None
        self._groups = _Groups(tokenizer, added)

    def encode(self, text: str) -> list[int] | None:
        """Ids of a text; `None` for one that spells a token that is taken as text."""
        if self._find_unusual is not None and self._find_unusual(text):
            return None
        return list(chain.from_iterable(map(self._groups.__getitem__, self._words(text))))

    def placed(self, text: str) -> tuple[list[int], Sequence[Span]] | None:
        """Ids of a text and the characters of each; `None` as for `encode`."""
        if self._find_unusual is not None and self._find_unusual(text):
            return None
        words = self._words(text)
        groups = list(map(self._groups.__getitem__, words))
        return list(chain.from_iterable(groups)), WordPlaces(words, groups, self._groups.places)

    def _words(self, text: str) -> list[str]:
        words: list[str] = []
        for i, part in enumerate(self._split_added(text)):
            if i % 2:
                words.append(part)
            elif part.isascii():
                words += self._find_words(part)
            else:
                words += self._mixed(part)
        return words

    def _mixed(self, text: str) -> Iterator[str]:
        """The words of a text that is not all ASCII."""
        plain: list[str] = []
        for stretch in _BORDER.split(text):
            if stretch.isascii():
                plain.append(stretch)
                continue
            yield from self._find_words("".join(plain))
            plain.clear()
            yield stretch
        yield from self._find_words("".join(plain))


class WordPlaces(TokenPlaces):
    """The characters of each token of a text, found only where they are asked for."""

    def __init__(
        self,
        words: Sequence[str],
        groups: Sequence[tuple[int, ...]],
        places: Callable[[str], list[Span]],
    ) -> None:
        self._words, self._groups, self._places = words, groups, places

    def __len__(self) -> int:
        return sum(map(len, self._groups))

    @overload
    def __getitem__(self, index: int) -> Span: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Span]: ...

    def __getitem__(self, index: int | slice) -> Span | Sequence[Span]:
        return self._all[index]

    def __iter__(self) -> Iterator[Span]:
        return iter(self._all)

    def tokens_of(self, span: Span) -> Span:
        """The tokens that share a character with a span of characters; `(0, 0)` for none."""
        start, end = span
        starts = self._starts
        if start >= end or start >= starts[-1]:
            return 0, 0
        first = bisect_right(starts, start) - 1
        last = min(bisect_left(starts, end, lo=first), len(self._words)) - 1
        before = sum(map(len, self._groups[:first]))
        until = before + sum(map(len, self._groups[first:last]))
        return before + self._within(first, span)[0], until + self._within(last, span)[1]

    def _within(self, word: int, span: Span) -> Span:
        """The tokens of a word, from its first on, that share a character with a span.

        The span touches the word.
        """
        start, end = self._starts[word : word + 2]
        if span[0] <= start and span[1] >= end:
            return 0, len(self._groups[word])
        return tokens_of((span[0] - start, span[1] - start), self._places(self._words[word]))

    @cached_property
    def _starts(self) -> list[int]:
        """First character of each word, and the number of characters."""
        return list(accumulate(map(len, self._words), initial=0))

    @cached_property
    def _all(self) -> list[Span]:
        return [
            (start + a, start + b)
            for word, start in zip(self._words, self._starts, strict=False)
            for a, b in self._places(word)
        ]


class _Groups(dict[str, tuple[int, ...]]):
    """The ids of words: a mapping that fills itself and stays bounded."""

    def __init__(self, tokenizer: Any, added: Mapping[str, int]) -> None:
        super().__init__()
        self._tokenizer, self._model = tokenizer, tokenizer.model
        self._added = added
        # What the byte-level step makes of each ASCII character.
        self._letters = {ord(c): tokenizer.pre_tokenizer.pre_tokenize_str(c)[0][0] for c in _ASCII}

    def __missing__(self, word: str) -> tuple[int, ...]:
        if word in self._added:
            ids: tuple[int, ...] = (self._added[word],)
        elif word.isascii():
            ids = tuple(token.id for token in self._model.tokenize(word.translate(self._letters)))
        else:
            ids = tuple(self._tokenizer.encode(word, add_special_tokens=False).ids)
        if len(word) <= _LONGEST:
            if len(self) >= _MOST_WORDS:
                self.clear()
            self[word] = ids
        return ids

    def places(self, word: str) -> list[Span]:
        """The characters of each token of a word, in the word."""
        if word in self._added:
            return [(0, len(word))]
        return list(self._tokenizer.encode(word, add_special_tokens=False).offsets)


class LazyTable:
    """The table of a tokenizer that has encoded enough text to be worth one."""

    __slots__ = ("_is_settled", "_left", "_table", "_tokenizer")

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._left = _FEW_CHARACTERS
        self._table: WordTable | None = None
        self._is_settled = False

    def after(self, n_characters: int) -> WordTable | None:
        """Count a text about to be encoded; the table, if there is one by now."""
        if not self._is_settled:
            self._left -= n_characters
            if self._left < 0:
                self._is_settled = True
                self._table = word_table(json.loads(self._tokenizer.to_str()), self._tokenizer)
        return self._table


def word_table(definition: Mapping[str, object], tokenizer: Any) -> WordTable | None:
    """The table of a tokenizer, or `None` if it may cut text in a way that is not known.

    Args:
        definition: The object of its `tokenizer.json`.
        tokenizer: The `tokenizers.Tokenizer` built from it.
    """
    pattern = word_pattern(definition.get("pre_tokenizer"))
    tokens = tokenizer.get_added_tokens_decoder()
    if pattern is None or not _is_plain(definition, list(tokens.values())):
        return None
    if not _cuts_alike(pattern.findall, tokenizer.pre_tokenizer):
        return None
    is_text = tokenizer.encode_special_tokens
    added = {token.content: token_id for token_id, token in tokens.items()}
    as_text = [token.content for token in tokens.values() if is_text and token.special]
    for token in as_text:
        del added[token]
    return WordTable(tokenizer, pattern.findall, added, as_text)


def _is_plain(definition: Mapping[str, object], tokens: Sequence[Any]) -> bool:
    """Whether words are encoded one by one, and added tokens found in one pass and whole."""
    normalizer, model = definition.get("normalizer"), definition.get("model")
    composes_only = normalizer is None or normalizer == {"type": "NFC"}
    is_certain = isinstance(model, dict) and not model.get("dropout")
    return (
        composes_only
        and is_certain
        and not any(token.lstrip or token.rstrip or token.single_word for token in tokens)
        and len({bool(token.normalized) for token in tokens}) <= 1
        and all(token.content.isascii() and token.content for token in tokens)
    )


def _cuts_alike(find_words: Callable[[str], list[str]], pre_tokenizer: Any) -> bool:
    """Whether a sample is cut as the library cuts it, and its words are never cut again."""
    sample = _sample()
    words = find_words(sample)
    ends = [end for _, (_, end) in pre_tokenizer.pre_tokenize_str(sample)]
    return list(accumulate(map(len, words))) == ends and all(
        find_words(word) == [word] for word in set(words)
    )


def _sample() -> str:
    """A text with every pair of ASCII characters, and every four of a few that differ in kind."""
    pairs = chain.from_iterable(product(_ASCII, repeat=2))
    kinds = chain.from_iterable(product("aS1 \n'.", repeat=4))
    return "".join(chain(pairs, kinds))


def _any_of(tokens: Sequence[str] | Mapping[str, int], frame: str) -> re.Pattern[str]:
    """A pattern that matches the longest of some tokens, within a frame."""
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    return re.compile(frame.format("|".join(map(re.escape, longest_first)) or "(?!)"))
