"""Tests of the modules behind the extra `gpu`; not collected on an install without torch."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from torch import Tensor

collect_ignore_glob = [] if find_spec("torch") else ["test_*.py"]

F32_RELATIVE, F32_ABSOLUTE = 1e-5, 1e-5
"""f32 sums of at most some thirty terms of size 1 to 10, in two orders."""


@pytest.fixture
def assert_near_f32() -> Callable[[Tensor | None, Tensor | None], None]:
    """Compare within what the order of f32 sums explains; `None` (no gradient) never passes."""
    from torch.testing import assert_close  # noqa: PLC0415 - this file loads without torch

    def compare(actual: Tensor | None, expected: Tensor | None) -> None:
        assert actual is not None
        assert expected is not None
        assert_close(actual, expected, rtol=F32_RELATIVE, atol=F32_ABSOLUTE)

    return compare
