"""The content of a `tokenizer.json`: byte-level and SentencePiece BPE, from tokens and merges."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from vox_populi.hf.gguf_pre_tokenizers import PreTokenizer

SPACE = "▁"
"""What SentencePiece writes for a space."""
Merges = Sequence[tuple[str, str]]
"""Pairs of tokens, best first."""


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that is found in text before anything is split."""

    id: int
    content: str
    special: bool
    """Whether it is a control token."""
    strips_right: bool = False
    """Whether it takes the white space after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """Tokens by id, and what is put around a text."""

    pieces: Mapping[str, int]
    """Tokens that merges make."""
    added: Sequence[AddedToken]
    """Sorted by id."""
    bos: AddedToken | None = None
    """Put in front of a text."""
    eos: AddedToken | None = None
    """Put behind a text."""

    def entries(self) -> Mapping[str, int]:
        """The vocabulary of the model part.

        The library numbers added tokens that are not in it from its end on. Only added tokens that
        get their ids that way are left out, so that no merge and no piece can ever make them.
        """
        first = max(self.pieces.values(), default=-1) + 1
        if [token.id for token in self.added] == list(range(first, first + len(self.added))):
            return self.pieces
        entries = {**self.pieces, **{token.content: token.id for token in self.added}}
        return dict(sorted(entries.items(), key=lambda entry: entry[1]))


def byte_level_definition(
    vocabulary: Vocabulary, merges: Merges, pre: PreTokenizer
) -> dict[str, object]:
    """A `tokenizer.json` whose tokens are spelled in GPT-2's letters for bytes."""
    model = _bpe(vocabulary, merges, ignore_merges=pre.ignore_merges)
    level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    return _definition(
        vocabulary,
        normalizer={"type": "NFC"} if pre.nfc else None,
        pre_tokenizer=pre.definition(),
        decoder=level,
        model=model,
    )


def sentencepiece_definition(
    vocabulary: Vocabulary,
    merges: Merges,
    *,
    unk: str | None,
    adds_space: bool,
    everywhere: bool = True,
) -> dict[str, object]:
    """A `tokenizer.json` whose tokens have `▁` for a space and bytes as `<0x0A>`.

    Args:
        vocabulary: The tokens.
        merges: Pairs of them.
        unk: The token of what has none.
        adds_space: Whether a space goes in front.
        everywhere: In front of every stretch between control tokens, as in llama.cpp and Llama 2;
            otherwise only of the text, if it does not start with one.
    """
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    steps: list[dict[str, object]] = [{"type": "Prepend", "prepend": SPACE}] if adds_space else []
    decoders: list[dict[str, object]] = [
        {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if adds_space:
        decoders.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    normalizer: dict[str, object] | None = {"type": "Sequence", "normalizers": [*steps, spaces]}
    pre_tokenizer: dict[str, object] | None = None
    if not everywhere:
        scheme = "first" if adds_space else "never"
        normalizer, pre_tokenizer = None, {"type": "Metaspace", "replacement": SPACE}
        pre_tokenizer |= {"prepend_scheme": scheme, "split": False}
    return _definition(
        vocabulary,
        normalizer=normalizer,
        pre_tokenizer=pre_tokenizer,
        decoder={"type": "Sequence", "decoders": decoders},
        model=_bpe(vocabulary, merges, unk=unk, byte_fallback=True),
    )


def merges_of_scores(
    pieces: Mapping[str, int], scores: Mapping[str, float], never: Collection[str] = ()
) -> list[tuple[str, str]]:
    """The merges that a SentencePiece vocabulary implies: better pieces first.

    Args:
        pieces: Every token that merges may read or make.
        scores: By token.
        never: Tokens that are not made of merges.
    """
    found = [
        (-scores[piece], -cut, cut - len(piece), number, piece)
        for piece, number in pieces.items()
        if piece not in never
        for cut in range(1, len(piece))
        if piece[:cut] in pieces and piece[cut:] in pieces
    ]
    found.sort()
    return [(piece[:-cut], piece[-cut:]) for _, cut, _, _, piece in found]


def _bpe(
    vocabulary: Vocabulary,
    merges: Merges,
    *,
    unk: str | None = None,
    byte_fallback: bool = False,
    ignore_merges: bool = False,
) -> dict[str, object]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": unk,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": byte_fallback,
        "byte_fallback": byte_fallback,
        "ignore_merges": ignore_merges,
        "vocab": dict(vocabulary.entries()),
        "merges": [list(pair) for pair in merges],
    }


def _definition(vocabulary: Vocabulary, **parts: object) -> dict[str, object]:
    added = [
        {
            "id": token.id,
            "content": token.content,
            "single_word": False,
            "lstrip": False,
            "rstrip": token.strips_right,
            "normalized": False,
            "special": token.special,
        }
        for token in vocabulary.added
    ]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": parts["normalizer"],
        "pre_tokenizer": parts["pre_tokenizer"],
        "post_processor": _around(vocabulary.bos, vocabulary.eos),
        "decoder": parts["decoder"],
        "model": parts["model"],
    }


def _around(bos: AddedToken | None, eos: AddedToken | None) -> dict[str, object] | None:
    """What puts BOS in front and EOS behind."""
    if bos is None and eos is None:
        return None
    tokens = [token for token in (bos, eos) if token is not None]

    def sequence(name: str, number: int) -> list[dict[str, object]]:
        parts: list[dict[str, object]] = [{"Sequence": {"id": name, "type_id": number}}]
        if bos is not None:
            parts.insert(0, {"SpecialToken": {"id": bos.content, "type_id": number}})
        if eos is not None:
            parts.append({"SpecialToken": {"id": eos.content, "type_id": number}})
        return parts

    special = {
        token.content: {"id": token.content, "ids": [token.id], "tokens": [token.content]}
        for token in tokens
    }
    return {
        "type": "TemplateProcessing",
        "single": sequence("A", 0),
        "pair": [*sequence("A", 0), *sequence("B", 1)],
        "special_tokens": special,
    }
