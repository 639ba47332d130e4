from __future__ import annotations

import pytest

from vox_populi.operator_messages.likeness import nearest


@pytest.mark.parametrize(
    ("typed", "known", "near"),
    [
        ("--rnak", ("--rank", "--lr"), "--rank"),
        ("--jsn", ("--json", "--seed"), "--json"),
        ("BATCHSIZE", ("batch_size",), "batch_size"),
        ("--batch_size", ("--batch-size",), "--batch-size"),
        ("tinny", ("tiny", "safe"), "tiny"),
        ("gradaccum", ("grad-accum",), "grad-accum"),
        ("--max-grad", ("--max-grad-norm", "--max-steps"), "--max-grad-norm"),
    ],
)
def test_a_slip_or_a_beginning_is_recognised(typed: str, known: tuple[str, ...], near: str) -> None:
    assert nearest(typed, known) == near


@pytest.mark.parametrize(
    ("typed", "known"),
    [
        # What difflib offered for these names of other programs.
        ("--learning-rate", ("--early-stopping-patience", "--alpha")),
        ("--lora-r", ("--qlora-graph", "--force")),
        ("--report-to", ("--dropout", "--resume")),
        ("--logging-dir", ("--on-long-row",)),
        ("w", ("q", "k", "v", "o")),
        ("", ("a",)),
        ("-", ("a",)),
        ("--max", ("--max-grad-norm", "--max-steps")),
        ("--rows", ("--row-limit",)),
        ("x" * 65, ("x" * 64,)),
        ("abc", ()),
    ],
)
def test_a_distant_name_is_not_suggested(typed: str, known: tuple[str, ...]) -> None:
    assert nearest(typed, known) is None
