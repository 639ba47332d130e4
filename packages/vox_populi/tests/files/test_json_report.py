"""Dataclasses as JSON documents: which keys they have, in which order, and as what."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import pytest

from vox_populi.files.json_report import HIDDEN, JsonReport, json_fields, json_value, shown


class Kind(StrEnum):
    ONE = "one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner(JsonReport):
    paths: Mapping[str, Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer(JsonReport):
    kind: Kind = field(default=Kind.ONE, metadata=shown("for"))
    seconds: float | None = field(metadata=shown(digits=2))
    parts: tuple[Inner, ...] = ()
    counts: Mapping[Kind, int] = field(metadata=shown(inline=True))
    secret: str = field(default="never", metadata=HIDDEN)
    loss: float = math.nan


def test_fields_are_keys_in_their_order() -> None:
    report = Outer(seconds=1.2345, parts=(Inner(paths={"a": Path("x/y")}),), counts={Kind.ONE: 3})
    document = report.as_json()
    assert json.dumps(document) == (
        '{"for": "one", "seconds": 1.23, "parts": [{"paths": {"a": "x/y"}}], "one": 3,'
        ' "loss": null}'
    )
    assert type(document["for"]) is str
    assert [type(key) for key in document] == [str] * 5


def test_what_is_missing_is_not_rounded() -> None:
    assert json_fields(Outer(seconds=None, counts={}))["seconds"] is None


@pytest.mark.parametrize("value", ["text", 3, True, None, 0.5, [1, {"a": None}]])
def test_json_values_stay_as_they_are(value: object) -> None:
    assert json_value(value) == value
    assert type(json_value(value)) is type(value)
