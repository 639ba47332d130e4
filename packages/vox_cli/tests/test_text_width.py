from __future__ import annotations

import pytest

from vox_cli.text_width import cells, cut, padded


@pytest.mark.parametrize(
    ("text", "width"),
    [("", 0), ("abc", 3), ("日本", 4), ("e\u0301", 1), ("\uff46", 2), ("a\u200d", 1)],
)
def test_width_is_counted_in_columns(text: str, width: int) -> None:
    assert cells(text) == width


def test_a_text_is_cut_where_the_room_ends() -> None:
    assert [cut("a日本b", room) for room in range(7)] == [
        "",
        "a",
        "a",
        "a日",
        "a日",
        "a日本",
        "a日本b",
    ]
    assert cut("e\u0301x", 1) == "e\u0301"


def test_a_text_is_filled_to_a_width() -> None:
    assert padded("日", 4) == "日  "
    assert padded("日", 4, to_the_right=True) == "  日"
    assert padded("long", 2) == "long"
