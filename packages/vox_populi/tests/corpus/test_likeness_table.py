from __future__ import annotations

import random
from collections.abc import Sequence

from vox_populi.corpus.likeness_table import Likenesses, LikenessTable, Overlap


def words(seed: int, n: int = 60) -> str:
    draw = random.Random(seed)
    return " ".join(f"w{draw.randrange(10_000)}" for _ in range(n))


def changed(text: str, place: int) -> str:
    parts = text.split()
    parts[place] = "changed"
    return " ".join(parts)


def compared(
    rows: Sequence[tuple[str, str]], heldout: Sequence[tuple[str, str]] = ()
) -> Likenesses:
    table = LikenessTable()
    for is_heldout, given in ((False, rows), (True, heldout)):
        for prompt, text in given:
            table.add(hash((prompt, text)) % 2**60, hash(prompt) % 2**60, text, heldout=is_heldout)
    return table.compare()


def test_equal_and_nearly_equal_rows_are_counted_apart() -> None:
    a, b, c = words(1), words(2), words(3)
    texts = [a, b, a, changed(a, 30), c, a, changed(b, 5), changed(a, 10)]
    found = compared([("p", text) for text in texts])
    assert (found.repeated, found.repeated_groups) == (2, 1)
    assert found.groups == ((3, (0, 2, 5)),)
    assert (found.near, found.near_groups) == (3, 2)
    assert {(row, other) for _, row, other in found.near_pairs} == {(3, 0), (7, 0), (6, 1)}
    assert all(0.8 <= like < 1 for like, _, _ in found.near_pairs)


def test_rows_in_one_topic_are_not_nearly_equal() -> None:
    head = words(1, 20)
    found = compared([("p", f"{head} {words(seed)}") for seed in range(2, 40)])
    assert (found.repeated, found.near) == (0, 0)


def test_heldout_rows_are_counted_once_by_the_strongest_reason() -> None:
    a, b, c = words(1), words(2), words(3)
    train = [("p1", a), ("p2", b), ("p1", a)]
    heldout = [("p1", a), ("p2", c), ("p9", changed(b, 7)), ("p8", words(8)), ("p1", a)]
    found = compared(train, heldout)
    assert (found.heldout_same, found.heldout_prompts, found.heldout_near) == (2, 1, 1)
    assert [(row - 3, other) for _, (_, row, other) in found.overlaps] == [
        (0, 0),
        (1, 1),
        (2, 1),
        (4, 0),
    ]
    assert [how for how, _ in found.overlaps] == [
        *(Overlap.SAME_ROW, Overlap.SAME_PROMPT, Overlap.NEAR, Overlap.SAME_ROW)
    ]
    assert found.repeated == 1, "held-out rows repeat nothing"


def test_rows_without_words_are_like_no_others() -> None:
    found = compared([("a", "?"), ("b", "!"), ("c", "")], [("d", "...")])
    assert (found.near, found.heldout_near) == (0, 0)


def test_thousands_of_rows_of_one_template_are_compared_with_few() -> None:
    base = words(1, 100)
    rows = [("p", f"{base} number {i}") for i in range(3000)]
    found = compared(rows)
    assert found.near == 2999
    assert found.near_groups == 1
    assert len(found.near_pairs) == 20


def test_an_empty_table() -> None:
    found = compared([])
    assert (found.repeated, found.near, found.overlaps) == (0, 0, ())
