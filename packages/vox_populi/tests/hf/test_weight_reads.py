"""Layers whose weight a class reads are found in its source."""

from __future__ import annotations

from functools import wraps
from typing import Any

from vox_populi.hf.weight_reads import layers_read_by_weight


def decorated(method: Any) -> Any:
    @wraps(method)
    def called(*args: Any) -> Any:
        return method(*args)

    return called


class Mixer:
    """A layer that reads some weights; its methods are never called."""

    __module__ = "transformers.models.mixer"

    def __init__(self: Any) -> None:
        self.made.weight = 1

    @decorated
    def forward(self: Any, x: Any) -> Any:
        x = x.to(self.asked.weight.dtype)
        return self.called(self.read.weight @ x)


def test_weights_that_are_read_count_and_layers_that_are_called_do_not() -> None:
    assert layers_read_by_weight(Mixer) == {"read"}


def test_code_of_others_is_not_looked_at() -> None:
    class Other(Mixer):
        __module__ = "elsewhere"

        def more(self: Any) -> Any:
            return self.another.weight

    assert layers_read_by_weight(Other) == {"read"}
