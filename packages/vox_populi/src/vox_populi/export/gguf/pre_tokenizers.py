"""llama.cpp's name for how a byte-level `tokenizer.json` splits text. No torch here.

llama.cpp does not run a tokenizer's own patterns: it has code for each set of patterns and finds
it by a name. So the patterns are compared, in one spelling, with the ones behind each name. Where
several names have the same patterns, `ignore_merges` and the normaliser decide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vox_populi.hf.gguf_pre_tokenizers import PRE_TOKENIZERS
from vox_tensor.tokenizer import PIECE_PATTERN

_SUFFIX = "<contraction>"
"""Stands for `'s`, `'ll` and so on in any case."""
_SMALL_SUFFIX = "<small contraction>"
_BYTE_LEVEL = rf"{_SMALL_SUFFIX}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|\s+(?!\S)|\s+"
"""GPT-2's pattern, which a byte-level step without one has."""


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """One of llama.cpp's, with what it stands for."""

    name: str
    patterns: tuple[str, ...] | None
    """Applied one after another, each to the parts that the one before made."""
    ignores_merges: bool
    """A part that is a token is that token, whatever the merges say."""
    normalizers: tuple[str | None, ...]
    """Normalisers that its official conversions leave out; normal text stays as it is."""


_SPELLINGS = (
    (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)", _SUFFIX),
    (r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", _SUFFIX),
    (r"'(?i:[sdmt]|ll|ve|re)", _SUFFIX),
    (r"'s|'t|'re|'ve|'m|'ll|'d", _SMALL_SUFFIX),
    (r"'(?:[sdmt]|ll|ve|re)", _SMALL_SUFFIX),
    (r"\p{N}{1}|", r"\p{N}|"),
    ("\r", r"\r"),
    ("\n", r"\n"),
)
_POSSESSIVE = re.compile(r"(?<=[\]}][+?*])\+")


def pre_tokenizer_of(definition: Mapping[str, object]) -> PreTokenizer | None:
    """The one that splits as a `tokenizer.json` does; `None` if there is none."""
    patterns = split_patterns(definition.get("pre_tokenizer"))
    model = definition.get("model")
    ignores = isinstance(model, dict) and bool(model.get("ignore_merges"))
    kind = normalizer_name(definition)
    for known in KNOWN:
        is_same = known.patterns == patterns and known.ignores_merges is ignores
        if is_same and kind in known.normalizers:
            return known
    return None


def why_unknown(definition: Mapping[str, object]) -> str:
    """What is different about a `tokenizer.json` for which there is none."""
    patterns = split_patterns(definition.get("pre_tokenizer"))
    alike = [known for known in KNOWN if known.patterns == patterns]
    if patterns is None:
        return "llama.cpp has no code for its pre-tokenizer, which does not end in bytes"
    if not alike:
        return "llama.cpp has no code for the pattern that its pre-tokenizer splits text by"
    kind = normalizer_name(definition)
    if not any(kind in known.normalizers for known in alike):
        return f"its normalizer {kind} is none of llama.cpp's"
    return "llama.cpp's tokenizer with its pattern treats ignore_merges differently"


def splits_as_we_do(definition: Mapping[str, object]) -> bool:
    """Whether a `tokenizer.json` has the pattern of our own tokenizer."""
    patterns = split_patterns(definition.get("pre_tokenizer"))
    return patterns == (_spelled(PIECE_PATTERN),)


def normalizer_name(definition: Mapping[str, object]) -> str | None:
    """The type of the normaliser; `None` without one, or for one of no steps."""
    raw = definition.get("normalizer")
    if not isinstance(raw, dict):
        return None
    if raw.get("type") == "Sequence" and not raw.get("normalizers"):
        return None
    return str(raw.get("type"))


def split_patterns(raw: object) -> tuple[str, ...] | None:
    """The patterns of a pre-tokenizer that ends in bytes, in one spelling; `None` for others."""
    try:
        *splits, level = _steps(raw)
        if level.get("type") != "ByteLevel" or level.get("add_prefix_space"):
            return None
        patterns = [_pattern(step) for step in splits]
    except ValueError:
        return None
    if level.get("use_regex", True):
        patterns.append(_BYTE_LEVEL)
    return tuple(patterns)


def _steps(raw: object) -> Sequence[Mapping[str, object]]:
    if not isinstance(raw, dict):
        raise ValueError
    steps = raw.get("pretokenizers") if raw.get("type") == "Sequence" else [raw]
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise ValueError
    return steps


def _pattern(step: Mapping[str, object]) -> str:
    """The pattern of one split whose matches become parts of their own.

    Raises:
        ValueError: For any other step.
    """
    if step.get("type") == "Digits" and step.get("individual_digits"):
        return r"\p{N}"
    pattern = step.get("pattern")
    regex = pattern.get("Regex") if isinstance(pattern, dict) else None
    # To keep only the matches is the same for a pattern that matches everything.
    keeps = (("Isolated", False), ("Removed", True))
    behaviour = (step.get("behavior"), bool(step.get("invert")))
    if step.get("type") != "Split" or behaviour not in keeps or not isinstance(regex, str):
        raise ValueError
    return _spelled(regex)


def _spelled(regex: str) -> str:
    """A pattern in the spelling of this module; possessive repetitions match the same here."""
    for theirs, ours in _SPELLINGS:
        regex = regex.replace(theirs, ours)
    return _POSSESSIVE.sub("", regex)


_NFC = (None, "NFC")
KNOWN = tuple(
    PreTokenizer(
        name,
        split_patterns(PRE_TOKENIZERS[name].definition()),
        PRE_TOKENIZERS[name].ignore_merges,
        normalizers,
    )
    for name, normalizers in (
        *(("gpt-2", (None,)), ("olmo", ("NFC",)), ("smollm", (None,)), ("qwen2", _NFC)),
        *(("llama-bpe", (None,)), ("smaug-bpe", _NFC), ("tekken", (None,)), ("gpt-4o", (None,))),
        ("deepseek-v3", (None,)),
    )
)
"""`smaug-bpe` has Llama 3's pattern and uses the merges for every part."""
