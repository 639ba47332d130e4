"""A vocabulary as SentencePiece and GGUF files list it: tokens by id, each with a type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from vox_populi.hf.tokenizer_definition import AddedToken

_MAX_TOKENS = 2**20
_MAX_TOKEN_LENGTH = 2**10
_MAX_CHARACTERS = 2**24


class TokenKind(IntEnum):
    """Types of tokens; both formats number them alike."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


_FOUND_WHOLE = (TokenKind.CONTROL, TokenKind.USER_DEFINED, TokenKind.UNKNOWN)


@dataclass(frozen=True, slots=True)
class TokenTable:
    """The tokens with their types."""

    tokens: Sequence[str]
    kinds: Sequence[int]

    def added(self) -> Iterator[AddedToken]:
        """Tokens that are found in text before anything is split."""
        for number, (token, kind) in enumerate(zip(self.tokens, self.kinds, strict=True)):
            if kind in _FOUND_WHOLE:
                yield AddedToken(number, token, special=kind != TokenKind.USER_DEFINED)

    def pieces(self) -> dict[str, int]:
        """All other tokens, without what only fills the embedding table up."""
        return {
            token: number
            for number, (token, kind) in enumerate(zip(self.tokens, self.kinds, strict=True))
            if kind not in _FOUND_WHOLE
            and not (kind == TokenKind.UNUSED and token == f"[PAD{number}]")
        }

    def of_kind(self, wanted: TokenKind) -> frozenset[str]:
        """The tokens of one type."""
        pairs = zip(self.tokens, self.kinds, strict=True)
        return frozenset(token for token, kind in pairs if kind == wanted)


def why_unusable(tokens: Sequence[str]) -> str | None:
    """Why a list of tokens is no vocabulary; also bounds what merges are made of."""
    if not tokens:
        return "it has no tokens"
    if len(tokens) > _MAX_TOKENS:
        return f"it has {len(tokens):,} tokens"
    longest = max(map(len, tokens))
    if longest > _MAX_TOKEN_LENGTH or sum(map(len, tokens)) > _MAX_CHARACTERS:
        return f"its tokens have up to {longest:,} characters"
    if len(set(tokens)) < len(tokens):
        return "a token occurs twice in it"
    return "it has an empty token" if "" in tokens else None
