"""Grouping rows by where they came from."""

from __future__ import annotations

import pytest

from vox_populi.pipeline.row_source import source_label
from vox_tensor.records import TrainingRecord


@pytest.mark.parametrize(
    ("source", "category", "label"),
    [
        ("json.decoder:JSONDecoder.decode", None, "json.decoder"),
        ("notes.md:12", "python", "notes.md"),
        ("https://host/page", None, "https://host/page"),
        ("plain", None, "plain"),
        (":odd", None, ":odd"),
        (None, "python", "python"),
        (None, None, "unknown"),
    ],
)
def test_label_is_the_source_without_the_place_in_it(
    source: str | None, category: str | None, label: str
) -> None:
    record = TrainingRecord(messages=(), line=1, source=source, category=category)
    assert source_label(record) == label
