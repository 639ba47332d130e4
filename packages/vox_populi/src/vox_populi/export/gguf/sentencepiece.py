"""A SentencePiece-like `tokenizer.json` as llama.cpp's vocabulary of kind `llama`. No torch here.

Such a file is a BPE over characters with `byte_fallback`. llama.cpp merges the pair whose result
has the highest score, a tokenizer with merges the pair that is listed first. The two agree if the
merges of one token are listed together and are all the ways to make it of two tokens, which is so
in every file that was made of a SentencePiece model; others are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

SPACE = "\u2581"
"""Stands for a space in tokens."""
BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")


def adds_space(definition: Mapping[str, object], has_inner_spaces: bool) -> bool | None:
    """Whether a text gets a space in front, after every control token too.

    Args:
        definition: Content of `tokenizer.json`.
        has_inner_spaces: Whether a token has a space that is not its first character.

    Returns:
        `None` for a normaliser or pre-tokenizer that llama.cpp cannot follow.
    """
    normalizers = _steps(definition.get("normalizer"), "normalizers")
    splits = _steps(definition.get("pre_tokenizer"), "pretokenizers")
    kinds = [step.get("type") for step in normalizers]
    if kinds not in ([], ["Replace"], ["Prepend", "Replace"]):
        return None
    if any(not _is_plain(step) for step in normalizers):
        return None
    if kinds:
        # Without spaces in the text, a split at a space does nothing.
        return "Prepend" in kinds if all(_splits_at_space(step) for step in splits) else None
    if [step.get("type") for step in splits] != ["Metaspace"]:
        return None
    (split,) = splits
    if split.get("replacement") != SPACE or (split.get("split", True) and has_inner_spaces):
        return None
    scheme = split.get("prepend_scheme", "always")
    # `first` is the start of a text alone, where a rendered chat has its BOS.
    return {"always": True, "first": False, "never": False}.get(str(scheme))


def scores_of(vocab: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> dict[int, float]:
    """A score for each token that llama.cpp may make of two others: the earlier, the higher.

    Raises:
        ValueError: When scores cannot say what the merges do.
    """
    scores: dict[int, float] = {}
    found: set[tuple[str, str]] = set()
    last = ""
    for left, right in merges:
        token = left + right
        number = vocab.get(token)
        if number is None:  # An added token, which is found in a text before anything is merged.
            continue
        if token != last and number in scores:
            message = "its merges are not in the order of a SentencePiece model"
            raise ValueError(message)
        last = token
        scores.setdefault(number, -float(len(scores)))
        found.add((left, right))
    for token in vocab:
        if not BYTE_TOKEN.fullmatch(token) and any(
            pair not in found for pair in _pairs(token, vocab)
        ):
            message = f"a merge of its token {token!r} is missing"
            raise ValueError(message)
    return scores


def _pairs(token: str, vocab: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Every way to make a token of two others."""
    for cut in range(1, len(token)):
        if token[:cut] in vocab and token[cut:] in vocab:
            yield token[:cut], token[cut:]


def _steps(raw: object, name: str) -> list[Mapping[str, object]]:
    if not isinstance(raw, dict):
        return []
    steps = raw.get(name) if raw.get("type") == "Sequence" else [raw]
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


def _is_plain(step: Mapping[str, object]) -> bool:
    """Whether a normaliser only marks spaces, or puts the mark of one in front."""
    if step.get("type") == "Prepend":
        return step.get("prepend") == SPACE
    return step.get("pattern") == {"String": " "} and step.get("content") == SPACE


def _splits_at_space(step: Mapping[str, object]) -> bool:
    return step.get("type") == "Split" and step.get("pattern") == {"String": " "}
