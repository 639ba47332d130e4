"""Which of llama.cpp's pre-tokenizers splits text as a tokenizer does."""

from __future__ import annotations

from typing import Any

import pytest

from vox_populi.export.gguf.pre_tokenizers import (
    KNOWN,
    pre_tokenizer_of,
    split_patterns,
    splits_as_we_do,
    why_unknown,
)
from vox_tensor.tokenizer import PIECE_PATTERN

BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
GPT2 = BYTES | {"use_regex": True}
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DIGITS = {"type": "Digits", "individual_digits": True}


def split(pattern: str, behavior: str = "Isolated", invert: bool = False) -> dict[str, Any]:
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": behavior,
        "invert": invert,
    }


def steps(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(parts)}


def definition(
    pre: dict[str, Any] | None, ignores: bool = False, normalizer: Any = None
) -> dict[str, Any]:
    return {"pre_tokenizer": pre, "normalizer": normalizer, "model": {"ignore_merges": ignores}}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gpt-2", definition(GPT2)),
        ("gpt-2", definition(GPT2, normalizer={"type": "Sequence", "normalizers": []})),
        ("olmo", definition(GPT2, normalizer={"type": "NFC"})),
        ("smollm", definition(steps(DIGITS, GPT2))),
        ("smollm", definition(steps(split(r"\p{N}"), GPT2))),
        ("qwen2", definition(steps(split(QWEN2), BYTES), normalizer={"type": "NFC"})),
        ("qwen2", definition(steps(split(QWEN2.replace(r"|\p{N}|", r"|\p{N}{1}|")), BYTES))),
        ("llama-bpe", definition(steps(split(LLAMA3), BYTES), ignores=True)),
        ("llama-bpe", definition(steps(split(CL100K), BYTES), ignores=True)),
        ("smaug-bpe", definition(steps(split(LLAMA3, "Removed", True), BYTES))),
    ],
)
def test_a_pattern_has_a_name_however_it_is_spelled(name: str, found: dict[str, Any]) -> None:
    known = pre_tokenizer_of(found)
    assert known is not None
    assert known.name == name


@pytest.mark.parametrize(
    ("reason", "found"),
    [
        ("does not end in bytes", definition(None)),
        ("does not end in bytes", definition({"type": "Whitespace"})),
        ("does not end in bytes", definition(GPT2 | {"add_prefix_space": True})),
        ("does not end in bytes", definition(steps(split(QWEN2, "MergedWithNext"), BYTES))),
        ("pattern", definition(steps(split(r"\w+"), BYTES))),
        ("normalizer Lowercase", definition(GPT2, normalizer={"type": "Lowercase"})),
        ("ignore_merges", definition(steps(split(QWEN2), BYTES), ignores=True)),
    ],
)
def test_others_have_none_and_a_reason(reason: str, found: dict[str, Any]) -> None:
    assert pre_tokenizer_of(found) is None
    assert reason in why_unknown(found)


def test_names_and_rules_are_there_once() -> None:
    rules = [
        (each.patterns, each.ignores_merges, kind) for each in KNOWN for kind in each.normalizers
    ]
    assert len(set(rules)) == len(rules)
    assert len({each.name for each in KNOWN}) == len(KNOWN)


def test_our_own_pattern_is_recognised() -> None:
    ours = definition(steps(split(PIECE_PATTERN), BYTES))
    assert splits_as_we_do(ours)
    assert not splits_as_we_do(definition(GPT2))
    assert split_patterns(ours["pre_tokenizer"]) == (PIECE_PATTERN,)
