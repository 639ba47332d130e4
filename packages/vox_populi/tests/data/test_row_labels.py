from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vox_populi.data.row_formats import parse_row
from vox_populi.data.row_labels import row_labels

PAIR = {"prompt": "p", "response": "r"}
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("value", "rating"),
    [(4, 4), (4.0, 4), (4.5, 4.5), ("5", 5), (" 3 ", 3), ("4.5", 4.5), (None, None), ("", None)],
)
def test_a_rating_is_a_number_in_whatever_type(value: object, rating: float | None) -> None:
    labels = row_labels({"rating": value})
    assert (labels.rating, labels.ignored) == (rating, ())


@pytest.mark.parametrize("value", [0, 9, 5.1, -1, True, "good", [4], {}, "nan", "inf", 10**400])
def test_a_rating_that_says_nothing_is_left_out_and_named(value: object) -> None:
    labels = row_labels({"rating": value})
    assert (labels.rating, labels.ignored) == (None, ("rating",))


@pytest.mark.parametrize(
    ("value", "difficulty", "is_ignored"),
    [(1, 1, False), ("10", 10, False), (0.5, None, True), (11, None, True), (None, None, False)],
)
def test_a_difficulty_is_a_number_from_1_to_10(
    value: object, difficulty: float | None, is_ignored: bool
) -> None:
    labels = row_labels({"difficulty": value})
    assert (labels.difficulty, labels.ignored) == (difficulty, ("difficulty",) * is_ignored)


@pytest.mark.parametrize("key", ["category", "lane", "source"])
@pytest.mark.parametrize(
    ("value", "text", "is_ignored"),
    [
        ("code", "code", False),
        (["code"], "code", False),
        (["code", "docs", 3], "code, docs, 3", False),
        (3, "3", False),
        ([], None, False),
        ("  ", None, False),
        ({"name": "code"}, None, True),
        ([["code"]], "code", False),
        ([{"a": 1}], None, True),
        (True, None, True),
    ],
)
def test_a_label_is_text_in_whatever_type(
    key: str, value: object, text: str | None, is_ignored: bool
) -> None:
    labels = row_labels({key: value})
    assert getattr(labels, key) == text
    assert labels.ignored == ((key,) if is_ignored else ())


@given(
    st.dictionaries(
        st.sampled_from(["rating", "difficulty", "category", "lane", "source"]), ANY_JSON
    )
)
def test_no_label_stops_a_good_row(labels: dict[str, object]) -> None:
    record = parse_row({**PAIR, **labels}, 1, "rows.jsonl")
    assert [message.content for message in record.messages] == ["p", "r"]
