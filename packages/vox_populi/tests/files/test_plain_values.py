from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import pytest

from vox_populi.files.plain_values import as_plain, of_plain


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    number: int
    names: tuple[str, ...] = ()
    pair: tuple[int, float] = (0, 0.0)


@dataclass(frozen=True)
class Outer:
    colour: Colour
    path: Path
    when: datetime
    inner: Inner | None = None
    by_name: Mapping[str, str] = field(default_factory=dict)
    derived: int = field(init=False, default=7)


@pytest.mark.parametrize("inner", [None, Inner(1), Inner(-2, ("a", "ü"), (3, 0.1))])
def test_a_value_comes_back_from_json(inner: Inner | None) -> None:
    when = datetime(2026, 11, 26, tzinfo=UTC)
    value = Outer(Colour.RED, Path("a/b"), when, inner, {"k": "v"})
    read = of_plain(Outer, json.loads(json.dumps(as_plain(value))))
    assert read == value
    assert type(read.colour) is Colour


def test_other_values_are_refused() -> None:
    with pytest.raises(TypeError):
        as_plain({"a": object()})
