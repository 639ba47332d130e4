"""Expected against found tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from vox_populi.containers.tensor_comparison import (
    Misshaped,
    Missing,
    Unexpected,
    WrongType,
    nearest_name,
    tensor_differences,
)
from vox_populi.operator_messages.wording import MAX_SHOWN


class Stored(NamedTuple):
    """What a header says."""

    shape: tuple[int, ...]
    dtype: str = "F32"


def test_equal_sets_have_no_differences() -> None:
    expected: dict[str, Sequence[int | None]] = {"a": (2, 3), "b": (None, 2), "c": ()}
    found = {"c": Stored(()), "b": Stored((9, 2)), "a": Stored((2, 3))}
    assert tensor_differences(expected, found, {"F32"}) == []


def test_every_difference_is_named_in_order() -> None:
    expected = {"layer.a": (2, 3), "layer.b": (4,), "layer.c": (5,), "layer.d": (6,)}
    found = {
        "zzz": Stored((1,)),
        "layer.d": Stored((7,), "F16"),
        "layer.c": Stored((5,), "I64"),
        "layer.a": Stored((3, 2)),
        "layer.bb": Stored((4,)),
    }
    assert tensor_differences(expected, found, {"F32"}) == [
        Misshaped("layer.a", (3, 2), (2, 3)),
        Missing("layer.b", "layer.bb"),
        WrongType("layer.c", "I64"),
        Misshaped("layer.d", (7,), (6,)),
        WrongType("layer.d", "F16"),
        Unexpected("zzz", None),
        Unexpected("layer.bb", "layer.b"),
    ]


@pytest.mark.parametrize("shape", [(0, 2), (2,), (1, 3), (1, 2, 1)])
def test_an_open_size_is_at_least_one_and_the_others_are_exact(shape: tuple[int, ...]) -> None:
    assert tensor_differences({"a": (None, 2)}, {"a": Stored((1, 2))}) == []
    found = {"a": Stored(shape)}
    assert tensor_differences({"a": (None, 2)}, found) == [Misshaped("a", shape, (None, 2))]


def test_without_types_any_type_will_do() -> None:
    assert tensor_differences({"a": (1,)}, {"a": Stored((1,), "F8_E5M2")}) == []


def test_near_names_come_from_the_possible_ones_and_for_those_that_are_shown() -> None:
    found = {f"weight.{number:03}": Stored((1,)) for number in range(MAX_SHOWN + 5)}
    near = [
        each.near
        for each in tensor_differences({}, found, possible=["weight.0000"])
        if isinstance(each, Unexpected)
    ]
    assert near == ["weight.0000"] * MAX_SHOWN + [None] * 5


def test_a_name_is_not_its_own_nearest() -> None:
    assert nearest_name("attn.q", ["attn.q", "attn.k"]) == "attn.k"
    assert nearest_name("attn.q", ["embedding"]) is None


def test_differences_read_as_text() -> None:
    expected = {"a": (2,), "b": (None,), "c": (1,)}
    found = {"b": Stored((1, 1)), "c": Stored((1,), "I8"), "d": Stored((1,))}
    texts = [str(each) for each in tensor_differences(expected, found, {"F32"})]
    assert texts == [
        "missing a",
        "b is [1, 1], expected [None]",
        "c has the type I8",
        "unexpected d",
    ]
