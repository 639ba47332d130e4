"""The table's own comparisons must be able to fail."""

from __future__ import annotations

import pytest
import torch

from tests_integration import tolerances
from tests_integration.tolerances import (
    EXACT,
    F32_LINEAR,
    Tolerance,
    assert_close_number,
    assert_parity,
    differs,
)

ROWS = {name: row for name, row in vars(tolerances).items() if isinstance(row, Tolerance)}


def test_every_row_has_a_reason() -> None:
    assert len(ROWS) > 5
    for row in ROWS.values():
        assert len(row.why.split()) > 3
        assert row.rtol >= 0
        assert row.atol >= 0


def test_a_difference_beyond_the_row_fails_and_names_the_reason() -> None:
    one = torch.ones(3)
    near, far = one + F32_LINEAR.atol / 2, one + 3 * F32_LINEAR.atol
    assert_parity(near, one, F32_LINEAR)
    assert not differs(near, one, F32_LINEAR)
    assert differs(far, one, F32_LINEAR)
    with pytest.raises(AssertionError, match="dot product"):
        assert_parity(far, one, F32_LINEAR)
    with pytest.raises(AssertionError, match="same arithmetic"):
        assert_parity(near, one, EXACT)


def test_single_numbers_are_compared_with_the_same_tolerance() -> None:
    assert_close_number(1.0 + F32_LINEAR.atol / 2, 1.0, F32_LINEAR)
    for wrong in (1.0 + 3 * F32_LINEAR.atol, float("nan"), float("inf")):
        with pytest.raises(AssertionError, match="dot product"):
            assert_close_number(wrong, 1.0, F32_LINEAR)
