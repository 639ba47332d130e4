from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vox_populi.corpus.line_pattern import LinePattern
from vox_populi.corpus.pattern_syntax import PatternRefusedError

ATOMS = st.sampled_from(
    [
        *("a", "b", "B", "_", " ", "é", ".", r"\w", r"\W", r"\d", r"\s", r"\S", r"\.", r"\b"),
        *(r"\B", "^", "$", "[ab]", "[^a]", "[a-c_]", "[^b-z ]", r"[\d.]", "[]a]", "[a-]", r"\t"),
    ]
)
REPEATABLE = ATOMS.filter(lambda atom: atom not in (r"\b", r"\B", "^", "$"))
REPEATS = st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}"])


def joined(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    grouped = children.map(lambda text: f"({text})")
    return st.one_of(
        st.tuples(children, children).map("".join),
        st.tuples(children, children).map("|".join),
        st.tuples(REPEATABLE | grouped, REPEATS).map("".join),
        children.map(lambda text: f"(?:{text})"),
    )


PATTERNS = st.recursive(ATOMS, joined, max_leaves=8)
LINES = st.text(st.sampled_from("abcABC_é1. \t"), max_size=12)


@settings(max_examples=80)
@given(PATTERNS, st.lists(LINES, max_size=8), st.booleans())
def test_a_pattern_means_what_it_means_to_re(
    pattern: str, lines: list[str], ignore_case: bool
) -> None:
    oracle = re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    try:
        ours = LinePattern(pattern, ignore_case=ignore_case)
    except PatternRefusedError:
        # On an empty text, `\B` means something else since Python 3.14.
        assert oracle.search("") or r"\B" in pattern
        return
    assert not oracle.search("")
    for line in lines:
        assert ours.search(line) == bool(oracle.search(line)), line


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+$x",
        "(a|aa)+b",
        "(.*)*x$",
        r"(\w+\s?)+:",
        "a{0,50}a{50}b",
        "((a?){9}){9}b",
        "(a*b?)*cc",
    ],
)
def test_a_hostile_pattern_ends(pattern: str) -> None:
    # With `re`, most of these would run for longer than the universe is old.
    assert not LinePattern(pattern).search("a" * 20_000 + "!")


def test_what_is_remembered_has_a_limit() -> None:
    ours = LinePattern("(a|b)*a(a|b){20}c")
    line = "".join("ab"[number * number % 7 % 2] for number in range(5000))
    assert not ours.search(line)
    assert sum(1 + len(place.states) for place in ours._places.values()) < 300_000


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "a*", "a|", "^", "(a", "a)", "[a", "a{", "a{x}", "a{3,2}", "a{51}", "*a", "a**"),
        *("a*?", "a++", "(?=a)", "(?i)a", "(?P<n>a)", r"(a)\1", r"\p", "a\\", r"[a-\d]", "[z-a]"),
        *("a\nb", "a" * 501, "^*", "(" * 60 + "a" + ")" * 60, "(a{50}){50}", r"[\w-z]"),
    ],
)
def test_what_is_outside_of_the_subset_is_refused(pattern: str) -> None:
    with pytest.raises(PatternRefusedError):
        LinePattern(pattern)
