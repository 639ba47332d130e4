from __future__ import annotations

import pytest

from vox_cli.optional_values import with_optional_values


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (["train", "--dry-run"], ["train", "--dry-run=plan"]),
        (["train", "--dry-run", "--json"], ["train", "--dry-run=plan", "--json"]),
        (["train", "--dry-run=step"], ["train", "--dry-run=step"]),
        (["pairs", "--from-python"], ["pairs", "--from-python=stdlib"]),
        (["pairs", "--from-python", "-q"], ["pairs", "--from-python=stdlib", "-q"]),
        (["pairs", "--from-python", "src"], ["pairs", "--from-python", "src"]),
        (["pairs", "--from-python=src"], ["pairs", "--from-python=src"]),
        (["train", "--resume"], ["train", "--resume=auto"]),
        (["train", "--resume", "--json"], ["train", "--resume=auto", "--json"]),
        (["train", "--resume", "runs/a"], ["train", "--resume", "runs/a"]),
        (["train", "--", "--dry-run"], ["train", "--", "--dry-run"]),
        ([], []),
    ],
)
def test_a_value_that_was_left_out_is_written_out(typed: list[str], completed: list[str]) -> None:
    assert with_optional_values(typed) == completed


def test_dry_run_takes_its_value_only_with_an_equals_sign() -> None:
    assert with_optional_values(["--dry-run", "step"]) == ["--dry-run=plan", "step"]
