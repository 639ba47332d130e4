"""The tokenizer files that a GGUF file's metadata stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from vox_populi.errors import ModelError
from vox_populi.hf.chat_template_files import MAX_TEMPLATE_BYTES
from vox_populi.hf.gguf_fields import GgufFields
from vox_populi.hf.gguf_pre_tokenizers import PRE_TOKENIZERS
from vox_populi.hf.token_table import TokenKind, TokenTable, why_unusable
from vox_populi.hf.tokenizer_definition import (
    SPACE,
    AddedToken,
    Vocabulary,
    byte_level_definition,
    merges_of_scores,
    sentencepiece_definition,
)
from vox_populi.operator_messages import gguf as say
from vox_populi.operator_messages.wording import capped, clipped

_KEY = "tokenizer.ggml"
_TEMPLATE_KEY = "tokenizer.chat_template"
_TEMPLATE_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufTokenizer:
    """A tokenizer as files of a model folder."""

    kind: str
    """Name to show: the pre-tokenizer's, or `SentencePiece`."""
    definition: Mapping[str, object]
    """Content of `tokenizer.json`."""
    settings: Mapping[str, object]
    """Content of `tokenizer_config.json`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufTexts:
    """What the metadata says about texts beside the vocabulary."""

    ids: Mapping[str, int]
    """Ids by their names in a config: `bos_token_id` and so on."""
    eos_ids: tuple[int, ...]
    """Every id that ends a text."""
    templates: Mapping[str, str]
    """Chat templates by name; the usual one is `default`."""
    notes: tuple[str, ...]


def gguf_texts(fields: GgufFields, n_tokens: int) -> GgufTexts:
    """Read the ids of control tokens and the chat templates.

    Args:
        fields: The file's metadata.
        n_tokens: Rows of the embedding table.

    Raises:
        ModelError: For fields of another type.
    """
    named = dict(_named(fields, n_tokens))
    templates, notes = _templates(fields)
    if fields.problems:
        raise ModelError(*capped(fields.problems))
    return GgufTexts(
        ids={f"{name}_token_id": named[name] for name in _IN_CONFIG if name in named},
        eos_ids=tuple(dict.fromkeys((*_named_ends(named), *_ends_by_name(fields)))),
        templates=templates,
        notes=notes,
    )


def _named_ends(named: Mapping[str, int]) -> Iterator[int]:
    return (named[name] for name in _ENDS if name in named)


def _ends_by_name(fields: GgufFields) -> Iterator[int]:
    tokens = fields.texts(f"{_KEY}.tokens") or ()
    return (number for number, token in enumerate(tokens) if token in _ENDS_BY_NAME)


def gguf_tokenizer(fields: GgufFields) -> GgufTokenizer:
    """Make tokenizer files of the metadata.

    Raises:
        ModelError: For a kind of tokenizer that is not built, and a vocabulary that contradicts
            itself.
    """
    found = _Vocabulary.read(fields)
    kind = fields.text(f"{_KEY}.model", default="") or ""
    maker = {"gpt2": _byte_level, "llama": _sentencepiece}.get(kind)
    if maker is None:
        raise ModelError(say.gguf_tokenizer_unsupported(f"its kind is {kind}").at(fields.where))
    name, definition, adds_bos = maker(fields, found)
    if fields.problems:
        raise ModelError(*capped(fields.problems))
    return GgufTokenizer(
        kind=name, definition=definition, settings=_settings(found, adds_bos=adds_bos)
    )


_NAMES: Mapping[str, str] = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "eot": "eot_token_id",
    "eom": "eom_token_id",
    "unk": "unknown_token_id",
    "pad": "padding_token_id",
}
_IN_CONFIG = ("bos", "eos", "pad")
_ENDS = ("eos", "eot", "eom")
_ENDS_BY_NAME = frozenset(
    (
        *("<|eot_id|>", "<|eom_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>"),
        *("<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<end_of_utterance>", "< EOT >"),
        *("_<EOT>", "[EOT]", "[EOS]"),
    )
)
"""Tokens that end an answer in llama.cpp whatever the metadata says, as its vocabulary reader has
them: files of Gemma, Phi-3 and Qwen name only one of their ends."""
_PHI3 = re.compile("phi-?3", re.IGNORECASE)
"""Names of models whose control tokens take the white space after them, as in llama.cpp: the
format has no field for it."""
_PHI3_PLAIN = frozenset(("<unk>", "<s>", "<|endoftext|>"))
"""Control tokens of Phi-3 that do not."""
_SENTENCEPIECE_IDS = {"bos": 1, "eos": 2, "unk": 0}
"""Ids of a SentencePiece vocabulary that does not say otherwise."""


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """The tokens with their types, and those with a task."""

    table: TokenTable
    named: Mapping[str, int]

    @classmethod
    def read(cls, fields: GgufFields) -> _Vocabulary:
        tokens = fields.texts(f"{_KEY}.tokens") or ()
        reason = why_unusable(tokens)
        if reason is not None:
            raise ModelError(say.gguf_tokenizer_unsupported(reason).at(fields.where))
        named = dict(_named(fields, len(tokens)))
        given = fields.numbers(f"{_KEY}.token_type")
        kinds: list[int] = [TokenKind.NORMAL] * len(tokens)
        if given is not None:
            kinds = [int(kind) for kind in given]
        if len(kinds) != len(tokens):
            reason = f"it has {len(tokens):,} tokens and {len(kinds):,} types"
            raise ModelError(say.gguf_tokenizer_unsupported(reason).at(fields.where))
        bos = [named["bos"]] if "bos" in named else []
        for number in (*bos, *_named_ends(named), *_ends_by_name(fields)):
            kinds[number] = TokenKind.CONTROL
        return cls(TokenTable(tokens, kinds), named)

    def text_of(self, name: str) -> str | None:
        """The text of a token with a task."""
        return self.table.tokens[self.named[name]] if name in self.named else None

    def around(self, fields: GgufFields, *, adds_bos: bool) -> Vocabulary:
        """The tokens, and what the file puts around a text."""
        added = list(self.table.added())
        if _PHI3.search(fields.text("general.name", default="") or ""):
            added = [
                replace(token, strips_right=token.content not in _PHI3_PLAIN) for token in added
            ]
        by_id = {token.id: token for token in added}
        has_bos = fields.flag(f"{_KEY}.add_bos_token", default=adds_bos)
        has_eos = fields.flag(f"{_KEY}.add_eos_token", default=False)
        return Vocabulary(
            pieces=self.table.pieces(),
            added=added,
            bos=by_id.get(self.named.get("bos", -1)) if has_bos else None,
            eos=by_id.get(self.named.get("eos", -1)) if has_eos else None,
        )


def _named(fields: GgufFields, n_tokens: int) -> Iterator[tuple[str, int]]:
    is_pieces = fields.value(f"{_KEY}.model") == "llama"
    for name, key in _NAMES.items():
        found = fields.token_id(f"{_KEY}.{key}", n_tokens)
        usual = _SENTENCEPIECE_IDS.get(name) if is_pieces else None
        if found is None and usual is not None and usual < n_tokens:
            found = usual
        if found is not None:
            yield name, found


_Made = tuple[str, Mapping[str, object], bool]
"""Name to show, `tokenizer.json`, and whether BOS comes first."""


def _byte_level(fields: GgufFields, found: _Vocabulary) -> _Made:
    name = fields.text(f"{_KEY}.pre", default="") or ""
    pre = PRE_TOKENIZERS.get(name)
    if pre is None:
        how = f"by the rule {clipped(name)}" if name else "by a rule that the file does not name"
        raise ModelError(say.gguf_tokenizer_unsupported(f"it splits text {how}").at(fields.where))
    vocabulary = found.around(fields, adds_bos=pre.adds_bos)
    merges = [_pair(merge) for merge in fields.texts(f"{_KEY}.merges") or ()]
    return name, byte_level_definition(vocabulary, merges, pre), vocabulary.bos is not None


def _pair(merge: str) -> tuple[str, str]:
    # A token may start with a space only in first place.
    left, _, right = merge[1:].partition(" ")
    return merge[:1] + left, right


def _sentencepiece(fields: GgufFields, found: _Vocabulary) -> _Made:
    vocabulary = found.around(fields, adds_bos=True)
    vocabulary = replace(vocabulary, added=list(map(_with_spaces, vocabulary.added)))
    scores = fields.numbers(f"{_KEY}.scores")
    if scores is None or len(scores) != len(found.table.tokens):
        reason = "its tokens have no scores"
        raise ModelError(say.gguf_tokenizer_unsupported(reason).at(fields.where))
    by_token = dict(zip(found.table.tokens, scores, strict=True))
    bytes_alone = found.table.of_kind(TokenKind.BYTE)
    merges = merges_of_scores(vocabulary.pieces, by_token, bytes_alone)
    adds_space = fields.flag(f"{_KEY}.add_space_prefix", default=True)
    definition = sentencepiece_definition(
        vocabulary, merges, unk=found.text_of("unk"), adds_space=adds_space
    )
    return "SentencePiece", definition, vocabulary.bos is not None


def _with_spaces(token: AddedToken) -> AddedToken:
    """A run of blanks as text has it; files of older converters have SentencePiece's sign."""
    is_blank = not token.special and not token.content.strip(SPACE)
    return replace(token, content=" " * len(token.content)) if is_blank else token


def _settings(found: _Vocabulary, *, adds_bos: bool) -> dict[str, object]:
    settings: dict[str, object] = {
        "add_bos_token": adds_bos,
        "clean_up_tokenization_spaces": False,
        # The class that takes tokenizer.json as it is.
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    for name in ("bos", "eos", "unk", "pad"):
        text = found.text_of(name)
        if text is not None:
            settings[f"{name}_token"] = text
    return dict(sorted(settings.items()))


def _templates(fields: GgufFields) -> tuple[dict[str, str], tuple[str, ...]]:
    found: dict[str, str] = {}
    notes: list[str] = []
    for key in fields.header.metadata:
        name = "default" if key == _TEMPLATE_KEY else key.removeprefix(f"{_TEMPLATE_KEY}.")
        if name == key:
            continue
        text = fields.text(key) or ""
        if not _TEMPLATE_NAME.fullmatch(name) or len(text.encode()) > MAX_TEMPLATE_BYTES:
            notes.append(say.note_template_left_out(name))
        elif text:
            found[name] = text
    return found, tuple(notes)
