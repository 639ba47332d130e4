"""The recorded layout of a training: read exactly as written, every wrong field named."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest

from vox_populi.data.trained_layout import TemplateSource, TokenName, TrainedLayout, take_layout
from vox_populi.files.json_fields import FieldError

SOURCE = TemplateSource(text="{{ bos_token }}é", tokens={"bos_token": "<s>"}, day="2026-11-26")
LAYOUT = TrainedLayout(template=SOURCE, bos=TokenName(1, "<s>"), end=TokenName(2, "</s>"))


def stored(layout: TrainedLayout) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps({"layout": layout.as_json()}))
    return document


@pytest.mark.parametrize(
    "layout",
    [
        LAYOUT,
        TrainedLayout(end=TokenName(0, "<|im_end|>")),
        replace(LAYOUT, keeps_control_text=True),
    ],
)
def test_a_layout_survives_the_round_trip(layout: TrainedLayout) -> None:
    assert take_layout(stored(layout)) == layout


def test_what_does_not_exist_is_omitted() -> None:
    assert stored(TrainedLayout(end=TokenName(7, "</s>"))) == {
        "layout": {"end": {"id": 7, "text": "</s>"}}
    }
    undated = TrainedLayout(template=TemplateSource(text="x", tokens={}), end=TokenName(7, "</s>"))
    assert stored(undated)["layout"]["template"] == {"text": "x", "tokens": {}}
    assert take_layout({}) is None


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("end",), None),
        (("end", "id"), -1),
        (("end", "id"), True),
        (("end", "text"), 2),
        (("bos", "id"), "1"),
        (("template", "text"), None),
        (("template", "tokens"), []),
        (("template", "tokens", "bos_token"), 1),
        (("template", "date"), "20261126"),
        (("template", "date"), "2026-13-01"),
        (("template", "more"), "x"),
        (("control_text",), "text"),
        (("more",), "x"),
    ],
)
def test_wrong_fields_are_named(path: tuple[str, ...], value: object) -> None:
    raw = deepcopy(stored(LAYOUT))
    parent = raw["layout"]
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    with pytest.raises(FieldError, match=path[-1]):
        take_layout(raw)


def test_the_digest_covers_text_tokens_and_day() -> None:
    others = (
        TemplateSource(text="{{ bos_token }}e", tokens=SOURCE.tokens, day=SOURCE.day),
        TemplateSource(text=SOURCE.text, tokens={"bos_token": "<S>"}, day=SOURCE.day),
        TemplateSource(text=SOURCE.text, tokens=SOURCE.tokens),
    )
    assert len({each.digest for each in (SOURCE, *others)}) == 4
