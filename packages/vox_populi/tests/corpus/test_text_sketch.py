"""Estimated likeness, held against the exact Jaccard similarity of sets made by hand."""

from __future__ import annotations

import random

import pytest

from vox_populi.corpus.text_sketch import SKETCH_BYTES, TextSketcher, likeness

MARGIN = 0.15
"""Four standard errors of an estimate from 128 bins."""


def sequences(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + 3]) for i in range(max(len(words) - 2, 1))}


def jaccard(one: str, other: str) -> float:
    a, b = sequences(one), sequences(other)
    return len(a & b) / len(a | b)


def edited(words: list[str], n_changed: int, draw: random.Random) -> str:
    copy = list(words)
    for place in draw.sample(range(len(copy)), n_changed):
        copy[place] = f"new{place}"
    return " ".join(copy)


@pytest.mark.parametrize("n_words", [12, 60, 400])
def test_the_estimate_is_the_share_of_common_sequences(n_words: int) -> None:
    draw = random.Random(n_words)
    sketcher = TextSketcher()
    errors = []
    for _ in range(30):
        words = [f"w{draw.randrange(5000)}" for _ in range(n_words)]
        other = edited(words, draw.randrange(n_words // 4), draw)
        one = " ".join(words)
        estimate = likeness(sketcher.sketch(one), sketcher.sketch(other))
        errors.append(estimate - jaccard(one, other))
    assert max(map(abs, errors)) < MARGIN
    assert abs(sum(errors) / len(errors)) < MARGIN / 4, "no bias"


def test_equal_texts_are_alike_and_others_are_not() -> None:
    sketcher = TextSketcher()
    one, same = sketcher.sketch("Hello there, world!"), sketcher.sketch("hello THERE world")
    assert len(one) == SKETCH_BYTES
    assert likeness(one, same) == 1
    assert likeness(one, sketcher.sketch("quite another text is this")) < MARGIN


def test_short_texts_and_texts_without_words() -> None:
    sketcher = TextSketcher()
    assert sketcher.sketch(" ?! \n") == b""
    assert likeness(sketcher.sketch("yes"), sketcher.sketch("Yes.")) == 1
    assert likeness(sketcher.sketch("yes"), sketcher.sketch("no")) < MARGIN


def test_languages_without_spaces_are_compared_by_characters() -> None:
    sketcher = TextSketcher()
    one = "今日はとても良い天気なので公園まで散歩に行きました"
    other = one.replace("公園", "学校")
    assert 0.5 < likeness(sketcher.sketch(one), sketcher.sketch(other)) < 1


def test_a_sketch_does_not_depend_on_what_was_sketched_before() -> None:
    text = "the same text of some words as before"
    used = TextSketcher()
    for i in range(50):
        used.sketch(f"other words {i}")
    assert used.sketch(text) == TextSketcher().sketch(text)
    assert used.sketch(text).hex().startswith(TextSketcher().sketch(text).hex()[:8])
