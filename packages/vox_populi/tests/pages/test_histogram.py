from __future__ import annotations

from itertools import pairwise

import pytest

from packages.vox_populi.tests.pages.parsed_page import ParsedPage
from vox_populi.pages.histogram import bars_of, histogram


@pytest.mark.parametrize(
    "values",
    [{7: 3}, {1: 1, 2: 5}, {100: 1, 150: 9, 400: 2}, {0: 4, 3: 1, 10**6: 1}, {5: 1, 29: 1}],
)
def test_every_value_is_in_exactly_one_bar(values: dict[int, int]) -> None:
    bars = bars_of(values)
    assert sum(bar.count for bar in bars) == sum(values.values())
    assert 1 <= len(bars) <= 25
    assert all(a.greatest + 1 == b.least for a, b in pairwise(bars))
    for value, count in values.items():
        (home,) = [bar for bar in bars if bar.least <= value <= bar.greatest]
        assert home.count >= count


def test_a_drawing_has_a_bar_per_range_and_the_numbers_as_a_table() -> None:
    drawn = histogram("Tokens <per> row", {10: 5, 600: 1, 5000: 1}, "tokens", limit=512)
    assert drawn is not None
    page = ParsedPage(drawn)
    bars, too_long = (
        page.find("rect", **{"class": "bar"}),
        page.find("rect", **{"class": "too-long"}),
    )
    assert len(bars) + len(too_long) == len(bars_of({10: 5, 600: 1, 5000: 1}))
    heights = [float(bar["height"] or 0) for bar in (*bars, *too_long)]
    assert max(heights) == heights[0] > 0
    assert any(float(bar["height"] or 0) for bar in too_long)
    assert page.text_in("td") == ["5", "1", "1"]
    assert "Tokens <per> row (log scale)" in page.text_in("figcaption")


def test_nothing_is_drawn_of_nothing() -> None:
    assert histogram("Tokens", {}, "tokens") is None
