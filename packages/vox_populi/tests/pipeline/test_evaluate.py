"""Totals of an evaluation, from what its sources measured."""

from __future__ import annotations

import pytest

from vox_populi.pipeline.evaluate import Measured, SourceLoss, source_label
from vox_tensor.records import TrainingRecord


def source(name: str, loss: float, tokens: int) -> SourceLoss:
    return SourceLoss(source=name, loss=loss, rows=1, supervised_tokens=tokens)


def test_the_loss_of_one_source_is_the_loss_to_the_last_bit() -> None:
    loss, tokens = 0.1, 3
    assert loss * tokens / tokens != loss, "multiplied and divided it would be another number"
    assert Measured((source("a", loss, tokens),)).loss == loss


def test_sources_weigh_by_their_tokens() -> None:
    measured = Measured((source("a", 1.0, 6), source("b", 4.0, 2)))
    assert measured.supervised_tokens == 8
    assert measured.loss == pytest.approx(1.75)


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
