"""Tokenizers as folders held them before `tokenizer.json`, converted to one.

These are SentencePiece's `tokenizer.model`, and `vocab.json` with `merges.txt`. Tokens that were
added later are in `tokenizer_config.json` or `added_tokens.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vox_populi.errors import ModelError
from vox_populi.files.model_file import read_model_file
from vox_populi.files.strict_json import read_json_object
from vox_populi.hf.gguf_pre_tokenizers import PRE_TOKENIZERS
from vox_populi.hf.sentencepiece_model import SentencePieceModel, read_sentencepiece_model
from vox_populi.hf.token_table import TokenKind, TokenTable, why_unusable
from vox_populi.hf.tokenizer_definition import (
    AddedToken,
    Vocabulary,
    byte_level_definition,
    merges_of_scores,
    sentencepiece_definition,
)
from vox_populi.operator_messages import tokenizer as say

SENTENCEPIECE_FILE, VOCABULARY_FILE, MERGES_FILE = "tokenizer.model", "vocab.json", "merges.txt"
_SETTINGS_FILE, _ADDED_FILE, _CONFIG_FILE = (
    "tokenizer_config.json",
    "added_tokens.json",
    "config.json",
)
_MAX_BYTES = 64 * 2**20
_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")
_SPLITS: Mapping[str, str] = {
    "GPT2Tokenizer": "gpt-2",
    "GPT2TokenizerFast": "gpt-2",
    "Qwen2Tokenizer": "qwen2",
    "Qwen2TokenizerFast": "qwen2",
    "gpt2": "gpt-2",
    "qwen2": "qwen2",
    "qwen3": "qwen2",
}
"""Names of pre-tokenizers by the tokenizer's class, or by the model's type where none is given."""


@dataclass(frozen=True, slots=True)
class ConvertedTokenizer:
    """A `tokenizer.json` and the files that it was made of."""

    definition: Mapping[str, object]
    sources: tuple[str, ...]
    n_tokens: int


def older_tokenizer_files(folder: Path) -> tuple[str, ...]:
    """The files of a folder that can be converted; none if there are none."""
    if (folder / SENTENCEPIECE_FILE).is_file():
        return (SENTENCEPIECE_FILE,)
    pair = (VOCABULARY_FILE, MERGES_FILE)
    return pair if all((folder / name).is_file() for name in pair) else ()


def convert_older_tokenizer(folder: Path) -> ConvertedTokenizer:
    """Make a `tokenizer.json` of a folder's files.

    Raises:
        ModelError: When there are none, a file is broken, or the same ids cannot be promised.
    """
    sources = older_tokenizer_files(folder)
    if not sources:
        raise ModelError(say.TOKENIZER_FILES_MISSING.at(str(folder)))
    settings = _optional(folder / _SETTINGS_FILE)
    convert = _pieces if sources[0] == SENTENCEPIECE_FILE else _byte_level
    definition, n_tokens = convert(folder, settings)
    return ConvertedTokenizer(definition, sources, n_tokens)


_Made = tuple[Mapping[str, object], int]


def _optional(path: Path) -> Mapping[str, object]:
    return read_json_object(path) if path.is_file() else {}


def _pieces(folder: Path, settings: Mapping[str, object]) -> _Made:
    where = str(folder / SENTENCEPIECE_FILE)
    model = read_sentencepiece_model(folder / SENTENCEPIECE_FILE)
    tokens = [piece.text for piece in model.pieces]
    reason = why_unusable(tokens) or _why_not(model)
    if reason is not None:
        raise ModelError(say.tokenizer_not_convertible(reason).at(where))
    table = TokenTable(tokens, [piece.kind for piece in model.pieces])
    ids = {token: number for number, token in enumerate(tokens)}
    added = _merged(table.added(), _added(folder, settings, ids))
    scores = {piece.text: piece.score for piece in model.pieces}
    vocabulary = _around(table.pieces(), added, settings, adds_bos=True)
    merges = merges_of_scores(vocabulary.pieces, scores, table.of_kind(TokenKind.BYTE))
    unk = next(iter(table.of_kind(TokenKind.UNKNOWN)), None)
    definition = sentencepiece_definition(
        vocabulary,
        merges,
        unk=unk,
        adds_space=model.adds_space and settings.get("add_prefix_space") is not False,
        everywhere=settings.get("legacy") is not False,
    )
    return definition, len(tokens)


def _why_not(model: SentencePieceModel) -> str | None:
    if not model.is_bpe:
        return "it is a unigram model"
    return "it changes text before it splits it" if model.changes_text else None


def _byte_level(folder: Path, settings: Mapping[str, object]) -> _Made:
    where = str(folder / VOCABULARY_FILE)
    reason: str | None
    raw = read_json_object(folder / VOCABULARY_FILE)
    ids = {token: number for token, number in raw.items() if type(number) is int and number >= 0}
    if len(ids) < len(raw) or len(set(ids.values())) < len(ids):
        reason = "its ids are not whole numbers, or one occurs twice"
        raise ModelError(say.tokenizer_not_convertible(reason).at(where))
    name = _split_of(folder, settings)
    reason = why_unusable(list(ids))
    if settings.get("add_prefix_space"):
        reason = "it puts a space in front of a text"
    if reason is None and name is None:
        reason = "nothing says how its text is split before it is merged"
    if reason is not None or name is None:
        raise ModelError(say.tokenizer_not_convertible(reason or "").at(where))
    added = list(_added(folder, settings, ids))
    whole = {token.content for token in added}
    pieces = {token: number for token, number in ids.items() if token not in whole}
    vocabulary = _around(pieces, added, settings, adds_bos=False)
    merges = list(_merges(folder / MERGES_FILE))
    return byte_level_definition(vocabulary, merges, PRE_TOKENIZERS[name]), len(ids)


def _split_of(folder: Path, settings: Mapping[str, object]) -> str | None:
    named = settings.get("tokenizer_class") or _optional(folder / _CONFIG_FILE).get("model_type")
    return _SPLITS.get(str(named))


def _merges(path: Path) -> Iterator[tuple[str, str]]:
    try:
        text = read_model_file(path, _MAX_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise ModelError(say.tokenizer_not_convertible("it is not UTF-8").at(str(path))) from None
    for number, line in enumerate(text.split("\n")):
        if not line.strip() or (number == 0 and line.startswith("#version")):
            continue
        left, _, right = line.rstrip("\r").partition(" ")
        yield left, right


def _added(
    folder: Path, settings: Mapping[str, object], ids: Mapping[str, int]
) -> Iterator[AddedToken]:
    """Tokens that the settings add or name, by id."""
    named = {text for name in _NAMES if (text := _text(settings.get(name))) is not None}
    found: dict[int, AddedToken] = {}
    for token, number in _optional(folder / _ADDED_FILE).items():
        if type(number) is int:
            found[number] = AddedToken(number, token, special=token in named)
    decoder = settings.get("added_tokens_decoder")
    for number, entry in decoder.items() if isinstance(decoder, dict) else ():
        content = _text(entry)
        if content is not None and str(number).isdecimal():
            special = isinstance(entry, dict) and entry.get("special") is True
            found[int(number)] = AddedToken(int(number), content, special or content in named)
    for token in named & ids.keys():
        found.setdefault(ids[token], AddedToken(ids[token], token, special=True))
    yield from (found[number] for number in sorted(found))


def _text(value: object) -> str | None:
    content = value.get("content") if isinstance(value, dict) else value
    return content if isinstance(content, str) and content else None


def _merged(first: Iterator[AddedToken], second: Iterator[AddedToken]) -> Sequence[AddedToken]:
    """The tokens of two lists by id; the second wins."""
    by_id = {token.id: token for token in (*first, *second)}
    return [by_id[number] for number in sorted(by_id)]


def _around(
    pieces: Mapping[str, int],
    added: Sequence[AddedToken],
    settings: Mapping[str, object],
    *,
    adds_bos: bool,
) -> Vocabulary:
    by_text = {token.content: token for token in added}
    # A SentencePiece folder without settings is one of Llama, which puts BOS first.
    bos = _text(settings.get("bos_token")) or ("<s>" if adds_bos else "")
    eos = _text(settings.get("eos_token")) or ""
    has_bos = settings.get("add_bos_token", adds_bos) is True
    has_eos = settings.get("add_eos_token") is True
    whole = {token.content for token in added}
    return Vocabulary(
        pieces={token: number for token, number in pieces.items() if token not in whole},
        added=added,
        bos=by_text.get(bos) if has_bos else None,
        eos=by_text.get(eos) if has_eos else None,
    )
