"""Numbers that JSON cannot carry."""

from __future__ import annotations

import math

import pytest

from vox_populi.files.json_numbers import finite_or_none, perplexity_of


def test_perplexity_is_the_exponential_of_the_loss() -> None:
    assert perplexity_of(0.0) == 1.0
    assert perplexity_of(2.5) == math.exp(2.5)


@pytest.mark.parametrize("loss", [1e6, math.inf, math.nan])
def test_a_perplexity_beyond_numbers_is_none(loss: float) -> None:
    assert perplexity_of(loss) is None


@pytest.mark.parametrize("value", [None, math.inf, -math.inf, math.nan])
def test_what_is_not_finite_becomes_null(value: float | None) -> None:
    assert finite_or_none(value) is None
    assert finite_or_none(1.5) == 1.5
