from __future__ import annotations

from typing import Any

import pytest

from vox_populi.hf.tokenizer_risk import MAX_GROWTH, growth_of, needs_trial, patterns_of

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+"
)


def replace(pattern: Any, content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def normalized(*parts: dict[str, Any]) -> dict[str, Any]:
    return {
        "normalizer": {"type": "Sequence", "normalizers": list(parts)},
        "model": {"type": "BPE"},
    }


def split_at(regex: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated"}
    return {"pre_tokenizer": split, "model": {"type": "BPE"}}


@pytest.mark.parametrize("regex", [GPT2, LLAMA3, O200K, r"\d{1,3}(?=(?:\d{3})*\b)", r"[(+)]+(a)"])
def test_published_patterns_need_no_trial(regex: str) -> None:
    assert not needs_trial(split_at(regex))
    assert patterns_of(split_at(regex)) == [regex]


@pytest.mark.parametrize(
    "regex", ["(x+x+)+y", "(a*)*", "(?:a|b+)*c", "((ab)+)+", "(x{2,})+", "(a+){100}", "(a{1,50})+"]
)
def test_a_tokenizer_with_nested_repetitions_needs_a_trial(regex: str) -> None:
    assert needs_trial(split_at(regex))
    assert needs_trial(normalized(replace({"Regex": regex}, "")))


def test_a_tokenizer_with_an_unknown_part_needs_a_trial() -> None:
    assert needs_trial(normalized({"type": "Novel"}))
    assert needs_trial({"model": {"type": "Novel"}})
    assert not needs_trial(normalized({"type": "NFC"}, {"type": "Lowercase"}))


def test_growth_is_the_product_of_the_replacements() -> None:
    assert growth_of(normalized(replace({"String": " "}, "▁"))) == 1
    assert growth_of(normalized(*[replace({"String": "z"}, "zz")] * 34)) == 2**34
    assert growth_of(normalized(*[replace({"String": "e"}, "e" * 100_000)] * 2)) == 1e10
    assert growth_of(normalized(replace({"Regex": ""}, "a" * 100))) > MAX_GROWTH
    assert growth_of({"decoder": replace({"String": "▁"}, "a" * 100)}) == 100
