"""A model folder's `tokenizer.json` as a GGUF vocabulary. No torch here.

A tokenizer that llama.cpp would run differently is refused: text would get other ids than in
training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vox_populi.errors import ArtifactError
from vox_populi.export.consumers import gguf_model_obstacles
from vox_populi.export.gguf.own_vocabulary import (
    PRE_TOKENIZER,
    byte_name,
    own_merges,
    own_text,
)
from vox_populi.export.gguf.pre_tokenizers import (
    pre_tokenizer_of,
    splits_as_we_do,
    why_unknown,
)
from vox_populi.export.gguf.sentencepiece import BYTE_TOKEN, SPACE, adds_space, scores_of
from vox_populi.files.published_file import read_published_file, require_in_folder
from vox_populi.files.strict_json import parse_json_object
from vox_populi.hf.chat_template_files import chat_templates
from vox_populi.hf.hf_tokenizer import TOKENIZER_NAME
from vox_populi.hf.model_config import ModelConfig
from vox_populi.operator_messages import export as say
from vox_tensor.errors import Problem, VoxError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Token types of the format."""
BYTE_LEVEL, SENTENCEPIECE = "gpt2", "llama"
"""llama.cpp's kinds of vocabulary."""
_UNREACHED = -1e9
"""Score of a token that no merge makes."""


@dataclass(frozen=True, slots=True)
class GgufVocabulary:
    """Data that llama.cpp needs to turn text into ids."""

    pre: str
    """llama.cpp's name of how text is split."""
    tokens: tuple[str, ...]
    """Tokens by id, as many as the embedding has rows."""
    types: tuple[int, ...]
    merges: tuple[str, ...]
    """Pairs of tokens separated by a space, best first; none in a SentencePiece vocabulary."""
    model: str = BYTE_LEVEL
    scores: tuple[float, ...] = ()
    """Scores by id, in a SentencePiece vocabulary."""
    adds_space: bool = False
    """Whether a SentencePiece vocabulary puts a space in front of a text."""
    unknown_id: int | None = None
    strips_right: bool = False
    """Whether control tokens swallow the white space after them, as Phi-3's do."""
    notes: tuple[str, ...] = ()


def gguf_refusals(model_dir: Path, config: ModelConfig) -> tuple[Problem, ...]:
    """Why a model folder cannot be written as GGUF; empty if it can.

    `export-gguf` refuses for these reasons, and `lint` reports them.
    """
    where = str(model_dir)
    problems = [
        say.gguf_model_unsupported(reason).at(where) for reason in gguf_model_obstacles(config)
    ]
    for read in (
        lambda: read_gguf_vocabulary(model_dir, config.vocab_size),
        lambda: read_chat_templates(model_dir),
    ):
        try:
            read()
        except VoxError as error:
            problems += error.problems
    return tuple(problems)


def read_gguf_vocabulary(model_dir: Path, rows: int) -> GgufVocabulary:
    """Read the vocabulary of a model folder.

    Args:
        model_dir: Folder with `tokenizer.json`.
        rows: Rows of the embedding; ids without a token get a placeholder.

    Raises:
        ModelError: When the file cannot be read.
        ArtifactError: For a kind of tokenizer that llama.cpp does not support.
    """
    path = model_dir / TOKENIZER_NAME
    definition = parse_json_object(read_published_file(path, model_dir), str(path))
    try:
        source = _Source.of(definition, rows)
        if source.has_byte_tokens:
            return _sentencepiece(source)
        return _byte_level(source)
    except _UnsupportedError as error:
        raise ArtifactError(say.gguf_model_unsupported(str(error)).at(str(path))) from error


def read_chat_templates(model_dir: Path) -> dict[str, str]:
    """The chat templates of a folder by name, wherever it keeps them; empty without any.

    Raises:
        ModelError: When a file cannot be read, or is a link out of the folder.
    """
    found = chat_templates(model_dir)
    for where, _ in found.values():
        require_in_folder(Path(where), model_dir)
    return {name: text for name, (_, text) in found.items()}


class _UnsupportedError(Exception):
    """What llama.cpp cannot represent."""


@dataclass(frozen=True, slots=True)
class _Source:
    """The parts of a `tokenizer.json`."""

    definition: Mapping[str, object]
    vocab: Mapping[str, int]
    """Ids of the tokens that are made of text."""
    merges: tuple[tuple[str, str], ...]
    added: Mapping[int, tuple[str, bool]]
    """Text of each added token, and whether it is a control token."""
    strips_right: bool
    has_byte_tokens: bool
    unknown: str | None
    rows: int

    @classmethod
    def of(cls, definition: Mapping[str, object], rows: int) -> _Source:
        model = definition.get("model")
        if not isinstance(model, dict) or model.get("type") != "BPE":
            message = "its tokenizer is not a BPE"
            raise _UnsupportedError(message)
        try:
            vocab = {str(token): int(number) for token, number in model["vocab"].items()}
            merges = tuple(_pair(each) for each in model["merges"])
            added = dict(_added_tokens(definition))
            strips_right = _strips_right(definition)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = "its vocabulary has an unknown format"
            raise _UnsupportedError(message) from error
        highest = max((*vocab.values(), *added), default=0)
        if highest >= rows:
            message = f"its tokenizer has ids up to {highest}, but its embedding has {rows} rows"
            raise _UnsupportedError(message)
        has_bytes, unknown = bool(model.get("byte_fallback")), model.get("unk_token")
        return cls(definition, vocab, merges, added, strips_right, has_bytes, unknown, rows)

    def table(self, texts: Mapping[int, str], types: Mapping[int, int]) -> _Table:
        """Tokens and types by id, with the added ones and placeholders for unused ids."""
        every = dict(texts) | {number: text for number, (text, _) in self.added.items()}
        kinds = dict(types) | {
            number: CONTROL if is_control else USER_DEFINED
            for number, (_, is_control) in self.added.items()
        }
        tokens = tuple(every.get(number, f"[PAD{number}]") for number in range(self.rows))
        if len(set(tokens)) < len(tokens):
            message = "two of its ids have the same text"
            raise _UnsupportedError(message)
        return tokens, tuple(kinds.get(number, UNUSED) for number in range(self.rows))


_Table = tuple[tuple[str, ...], tuple[int, ...]]
"""Tokens and types by id."""


def _byte_level(source: _Source) -> GgufVocabulary:
    if splits_as_we_do(source.definition):
        return _our_own(source)
    found = pre_tokenizer_of(source.definition)
    if found is None:
        raise _UnsupportedError(why_unknown(source.definition))
    texts = {number: token for token, number in source.vocab.items()}
    tokens, kinds = source.table(texts, dict.fromkeys(texts, NORMAL))
    merges = tuple(f"{left} {right}" for left, right in source.merges)
    return GgufVocabulary(found.name, tokens, kinds, merges, strips_right=source.strips_right)


def _our_own(source: _Source) -> GgufVocabulary:
    texts: dict[int, str] = {}
    types: dict[int, int] = {}
    for token, number in source.vocab.items():
        if number in source.added:
            continue
        text, is_found_first = own_text(token) or (byte_name(token), False)
        if text is None:
            message = f"its token {token!r} is a part of a character"
            raise _UnsupportedError(message)
        texts[number] = text
        types[number] = USER_DEFINED if is_found_first else NORMAL
        if BYTE_TOKEN.fullmatch(text):
            types[number] = BYTE
    merges = own_merges(source.merges, {t: texts[n] for t, n in source.vocab.items() if n in texts})
    tokens, kinds = source.table(texts, types)
    return GgufVocabulary(
        pre=PRE_TOKENIZER,
        tokens=tokens,
        types=kinds,
        merges=tuple(f"{left} {right}" for left, right in merges),
        notes=(say.NOTE_GGUF_OWN_VOCABULARY,),
    )


def _sentencepiece(source: _Source) -> GgufVocabulary:
    added = {text for text, _ in source.added.values()}
    pieces = {token: number for token, number in source.vocab.items() if token not in added}
    has_inner = any(SPACE in token[1:] for token in pieces)
    prefix = adds_space(source.definition, has_inner)
    if prefix is None:
        message = "llama.cpp cannot follow its normalizer and its pre-tokenizer"
        raise _UnsupportedError(message)
    try:
        made = scores_of(pieces, source.merges)
    except ValueError as error:
        raise _UnsupportedError(str(error)) from error
    texts = {number: token for token, number in pieces.items()}
    types = {
        number: BYTE if BYTE_TOKEN.fullmatch(token) else NORMAL for token, number in pieces.items()
    }
    tokens, kinds = source.table(texts, types)
    unknown = source.vocab.get(source.unknown or "")
    return GgufVocabulary(
        pre="default",
        tokens=tokens,
        types=tuple(UNKNOWN if i == unknown else kind for i, kind in enumerate(kinds)),
        merges=(),
        model=SENTENCEPIECE,
        scores=tuple(made.get(number, _UNREACHED) for number in range(source.rows)),
        adds_space=prefix,
        unknown_id=unknown,
        strips_right=source.strips_right,
    )


def _added_tokens(definition: Mapping[str, object]) -> Iterator[tuple[int, tuple[str, bool]]]:
    for added in _entries(definition):
        yield int(added["id"]), (str(added["content"]), bool(added.get("special")))


_PHI3_PLAIN = frozenset({"<unk>", "<s>", "<|endoftext|>"})
"""The tokens of Phi-3 that leave the white space beside them alone."""


def _strips_right(definition: Mapping[str, object]) -> bool:
    """Whether control tokens swallow white space as Phi-3's do, for which llama.cpp has code.

    Raises:
        _UnsupportedError: When tokens swallow white space in any other way.
    """
    right = set()
    for added in _entries(definition):
        if added.get("lstrip") or added.get("single_word"):
            message = f"its token {added['content']!r} matches only beside certain characters"
            raise _UnsupportedError(message)
        if added.get("rstrip"):
            right.add(str(added["content"]))
    if not right:
        return False
    controls = {str(added["content"]) for added in _entries(definition) if added.get("special")}
    if right == controls - _PHI3_PLAIN and "</s>" in right:
        return True
    message = f"its token {min(right)!r} swallows the white space after it"
    raise _UnsupportedError(message)


def _entries(definition: Mapping[str, object]) -> list[Any]:
    entries = definition.get("added_tokens") or []
    if not isinstance(entries, list):
        raise TypeError
    return entries


def _pair(merge: object) -> tuple[str, str]:
    """One merge; older files have both parts in one text.

    Raises:
        TypeError: When it is neither a text nor a list.
        ValueError: When it has not two parts.
    """
    parts = merge.split(" ") if isinstance(merge, str) else merge
    if not isinstance(parts, list):
        raise TypeError
    left, right = parts
    return str(left), str(right)
