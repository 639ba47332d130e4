from __future__ import annotations

import pytest

from vox_cli.report_text import aligned, bytes_text, counts_text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (None, None),
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 * 2**20, "5.0 MiB"),
        (3 * 2**40, "3072.00 GiB"),
    ],
)
def test_sizes_are_in_the_unit_that_suits_them(count: int | None, text: str | None) -> None:
    assert bytes_text(count) == text


def test_pairs_are_aligned_and_absent_values_left_out() -> None:
    assert aligned([("a", 1), ("long", "x"), ("none", None)]) == "a     1\nlong  x"
    assert aligned([]) == ""


def test_counts_stand_in_parentheses() -> None:
    assert counts_text({"a": 1, "b": 2000}) == " (a 1, b 2,000)"
    assert counts_text({}) == ""
