"""Estimating what a `tokenizer.json` could do to memory and time, from its text. Runs nothing.

Two things in such a file can be unbounded. Replacements can multiply a text: their growth is a
product of known numbers, so it is computed. Patterns can backtrack forever: that takes a repetition
inside a repetition, which no published tokenizer has; one that does, or has parts that this program
does not know, is tried in a separate process before it is used here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

MAX_GROWTH = 64
"""Largest number of characters that one may become; Unicode's normal forms need up to 18."""

_BOUNDED_KINDS = frozenset((
    *("Sequence", "Replace", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "StripAccents"),
    *("BertNormalizer", "Prepend", "Nmt", "Precompiled", "ByteLevel", "Whitespace", "Split"),
    *("WhitespaceSplit", "Metaspace", "Digits", "Punctuation", "BertPreTokenizer", "Fuse"),
    *("CharDelimiterSplit", "UnicodeScripts", "WordPiece", "BPEDecoder", "ByteFallback", "CTC"),
    *("BPE", "Unigram", "WordLevel", "FixedLength"),
))  # fmt: skip
_STAGES = ("normalizer", "pre_tokenizer", "decoder")


def growth_of(definition: Mapping[str, object]) -> float:
    """How many characters one character can become through the file's replacements."""
    factors = dict.fromkeys(_STAGES, 1.0)
    for stage in _STAGES:
        for part in _parts(definition.get(stage)):
            factors[stage] *= _growth_of_part(part)
    return max(factors["normalizer"] * factors["pre_tokenizer"], factors["decoder"])


def needs_trial(definition: Mapping[str, object]) -> bool:
    """Whether the file has parts or patterns whose running time cannot be told from its text."""
    model = definition.get("model")
    kinds = [model.get("type") if isinstance(model, dict) else None]
    for stage in _STAGES:
        kinds += [part.get("type") for part in _parts(definition.get(stage))]
    known = all(kind is None or kind in _BOUNDED_KINDS for kind in kinds)
    return not known or any(_nests_repetitions(each) for each in patterns_of(definition))


def patterns_of(definition: Mapping[str, object]) -> list[str]:
    """Every regular expression in the file."""
    found = []
    for stage in _STAGES:
        for part in _parts(definition.get(stage)):
            pattern = part.get("pattern")
            regex = pattern.get("Regex") if isinstance(pattern, dict) else None
            if isinstance(regex, str):
                found.append(regex)
    return found


def _parts(value: object) -> Iterator[Mapping[str, object]]:
    """A stage and all its parts."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            yield part
            waiting += [part.get(name) for name in ("normalizers", "pretokenizers", "decoders")]


def _growth_of_part(part: Mapping[str, object]) -> float:
    content, pattern = part.get("content"), part.get("pattern")
    if not isinstance(content, str) or not isinstance(pattern, dict):
        return 1.0
    text = pattern.get("String")
    if isinstance(text, str) and text:
        return max(1.0, len(content) / len(text))
    # A regular expression may match nothing at all, between any two characters.
    return 1.0 + len(content)


def _nests_repetitions(pattern: str) -> bool:
    """Whether a group with an unbounded repetition contains an unbounded repetition."""
    # For each open group: whether something in it repeats.
    open_groups = [False]
    position, closed = 0, False
    while position < len(pattern):
        character = pattern[position]
        if character == "[":
            position = _end_of_class(pattern, position)
            closed = False
        elif character == "\\":
            position, closed = position + 1, False
        elif character == "(":
            open_groups.append(False)
            closed = False
        elif character == ")" and len(open_groups) > 1:
            closed = open_groups.pop()
            open_groups[-1] |= closed
        elif _repeats_without_bound(pattern, position):
            if closed:
                return True
            open_groups[-1], closed = True, False
        else:
            closed = False
        position += 1
    return False


def _end_of_class(pattern: str, start: int) -> int:
    """Position of the last character of a `[...]`, including nested ones."""
    depth, position = 0, start
    while position < len(pattern):
        if pattern[position] == "\\":
            position += 1
        elif pattern[position] == "[":
            depth += 1
        elif pattern[position] == "]":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    return position


def _repeats_without_bound(pattern: str, position: int) -> bool:
    if pattern[position] in "+*":
        return True
    if pattern[position] != "{":
        return False
    bounds = pattern[position + 1 :].partition("}")[0]
    least, comma, most = bounds.partition(",")
    if not least.isdecimal() and not most.isdecimal():
        return False
    # A large bound backtracks like none.
    return (bool(comma) and not most) or ((most or least).isdecimal() and int(most or least) > 16)
