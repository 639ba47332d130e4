from __future__ import annotations

from vox_populi.corpus.row_sides import LeftOut, RowSides, SideOptions, Sides


def sides(*rows: tuple[str, str, bool, bool], **options: int) -> Sides:
    collected = RowSides(SideOptions(**options))  # type: ignore[arg-type]  # counts only
    for prompt, response, heldout, golden in rows:
        collected.add({"prompt": prompt, "response": response}, heldout=heldout, golden=golden)
    return collected.sides()


def prompts(rows: object) -> list[object]:
    assert hasattr(rows, "__iter__")
    return [row["prompt"] for row in rows]


def test_golden_rows_come_first_and_win() -> None:
    found = sides(
        ("a", "1", False, False),
        ("b", "2", False, False),
        ("c", "2", False, True),
        ("d", "3", True, False),
        ("e", "4", True, True),
    )
    assert prompts(found.train) == ["c", "a"]
    assert prompts(found.heldout) == ["e", "d"]
    assert found.golden_rows == 2
    assert [row.get("golden") for row in found.train] == [True, None]
    assert found.left_out[LeftOut.DUPLICATE_ANSWER] == 1


def test_a_heldout_row_shares_nothing_with_training_whatever_the_order() -> None:
    found = sides(
        ("p", "1", True, True),
        ("q", "2", True, False),
        ("r", "3", True, False),
        ("p", "9", False, False),
        ("s", "2", False, False),
    )
    assert prompts(found.train) == ["p", "s"]
    assert prompts(found.heldout) == ["r"]
    assert found.left_out[LeftOut.SEEN_IN_TRAINING] == 2


def test_a_limit_keeps_golden_rows_and_a_stable_choice() -> None:
    rows = [(f"p{i}", f"a{i}", False, i in (7, 30)) for i in range(40)]
    found = sides(*rows, max_rows=10)
    assert prompts(found.train)[:2] == ["p7", "p30"]
    assert len(found.train) == 10
    assert found.left_out[LeftOut.BEYOND_MAX_ROWS] == 30
    more = sides(*rows, max_rows=11)
    assert set(prompts(found.train)) < set(prompts(more.train))


def test_rows_can_be_read_again() -> None:
    found = sides(("a\u2028é", "1", False, False))
    assert list(found.train) == list(found.train) == [{"prompt": "a\u2028é", "response": "1"}]
    assert {"prompt": "a\u2028é", "response": "1"} in found.train
    assert {} not in found.train
