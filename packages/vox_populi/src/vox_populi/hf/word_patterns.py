"""The patterns by which published byte-level tokenizers cut text into words, for ASCII text.

A pattern is known by its exact text: its translation cuts ASCII text at the same places, and no
word has a blank behind another character. So text may also be cut before a single blank between
two visible ASCII characters, whatever the rest of the text is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

# The published alternatives with the commonest first, where their first characters tell them
# apart, and without turning back, where no shorter match is ever tried: a sixth faster.
_GPT2_PARTS = (
    r"[A-Za-z]++| [A-Za-z]++|'(?:[stmd]|re|ve|ll)|{digits}|[^\sA-Za-z0-9]++| [^\sA-Za-z0-9]++"
)
_GPT2 = _GPT2_PARTS.replace("{digits}", " ?[0-9]+") + r"|\s+(?!\S)|\s++"
_GPT2_BESIDE_DIGITS = _GPT2_PARTS + r"|\s+(?![^\s0-9])|\s++"
_CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LETTERS_AND_MARKS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_AFTER_NUMBERS = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = frozenset(
    f"{_CONTRACTIONS}|{_LETTERS_AND_MARKS}|\\p{{N}}{count}|{_AFTER_NUMBERS}"
    for count in ("", "{1,3}")
)
"""Llama 3 and GPT-4, and Qwen 2 to 3."""


def word_pattern(pre_tokenizer: object) -> re.Pattern[str] | None:
    """The pattern of the words that a `pre_tokenizer` of a `tokenizer.json` makes of ASCII text.

    `None` for one that is not known.
    """
    steps = _steps_of(pre_tokenizer)
    if not steps or not _is_byte_level(steps[-1]):
        return None
    splits, uses_regex = steps[:-1], steps[-1].get("use_regex", True) is True
    pattern: str | None = None
    if uses_regex:
        pattern = _GPT2 if not splits else _beside_digits(splits)
    elif len(splits) == 1:
        pattern = _split_pattern(splits[0])
    return None if pattern is None else re.compile(pattern, re.ASCII)


def _steps_of(pre_tokenizer: object) -> list[Mapping[str, object]]:
    if not isinstance(pre_tokenizer, dict):
        return []
    if pre_tokenizer.get("type") != "Sequence":
        return [pre_tokenizer]
    steps = pre_tokenizer.get("pretokenizers")
    return [each for each in steps if isinstance(each, dict)] if isinstance(steps, list) else []


def _is_byte_level(step: Mapping[str, object]) -> bool:
    return step.get("type") == "ByteLevel" and step.get("add_prefix_space") is False


def _beside_digits(splits: list[Mapping[str, object]]) -> str | None:
    if len(splits) != 1 or splits[0].get("type") != "Digits":
        return None
    digits = "[0-9]" if splits[0].get("individual_digits") is True else "[0-9]+"
    return _GPT2_BESIDE_DIGITS.replace("{digits}", digits)


def _split_pattern(split: Mapping[str, object]) -> str | None:
    pattern = split.get("pattern")
    text = pattern.get("Regex") if isinstance(pattern, dict) else None
    is_plain = split.get("behavior") == "Isolated" and split.get("invert") is False
    if split.get("type") != "Split" or not is_plain or text not in _SPLITS:
        return None
    # Each property stands alone or inside a class.
    inside = re.compile(r"\[[^\]]*\]")
    text = inside.sub(lambda found: _in_class(found.group()), text)
    return text.replace(r"\p{L}", "[A-Za-z]").replace(r"\p{N}", "[0-9]")


def _in_class(text: str) -> str:
    return text.replace(r"\p{L}", "A-Za-z").replace(r"\p{N}", "0-9")
