from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Vox = Callable[..., Any]


@pytest.mark.parametrize(
    ("argv", "where", "words"),
    [
        (["--rank", "x"], "--rank", ["whole number", "'x'"]),
        (["--lr", "fast"], "--lr", ["number", "'fast'"]),
        (["--lr", "nan"], "--lr", ["number"]),
        (["--lr", "inf"], "--lr", ["number"]),
        (["--schedule", "cosin"], "--schedule", ["constant", "linear", "inverse_sqrt", "wsd"]),
        (["--backend", "full"], "--backend", ["lora", "qlora"]),
        (["--device", "tpu"], "--device", ["cpu", "cuda", "metal", "best"]),
        (["--on-bad-row", "drop"], "--on-bad-row", ["error", "skip"]),
        (["--targets", "w"], "--targets", ["q", "lm_head"]),
        (["--data-dir", ""], "--data-dir", ["path"]),
        (["--log-every", "0"], "--log-every", ["from 1 to 1000000000"]),
        (["--rank"], "--rank", ["requires an argument", "vox mens train --help"]),
        (["--force=1"], "--force", ["does not take a value"]),
        (["--bath-size", "1"], "--bath-size", ["--batch-size"]),
        (["--dry-run", "step"], None, ["step", "vox mens train --help"]),
        (["--dry-run=all"], "--dry-run", ["plan", "step"]),
    ],
)
def test_a_bad_flag_is_one_line_that_says_what_is_accepted(
    vox: Vox, argv: list[str], where: str | None, words: list[str]
) -> None:
    outcome = vox("mens", "train", "--json", *argv)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    (problem,) = outcome.document["problems"]
    assert problem["where"] == where
    said = f"{problem['what']} {problem['fix']}"
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize("flag", ["--model", "--data-dir", "--init-from"])
def test_a_url_is_shown_whole_and_told_that_nothing_is_downloaded(vox: Vox, flag: str) -> None:
    outcome = vox("mens", "train", flag, "https://hub.example/org/name", "--json")
    assert outcome.code == 2
    (problem,) = outcome.document["problems"]
    assert (problem["code"], problem["where"]) == ("MENS-U060", flag)
    assert "https://hub.example/org/name" in problem["what"]


def test_every_unknown_role_is_reported(vox: Vox) -> None:
    outcome = vox("mens", "train", "--targets", "a,q,b", "--json")
    assert [each["where"] for each in outcome.document["problems"]] == ["--targets"] * 2


def test_both_missing_settings_are_reported_with_all_three_ways(vox: Vox) -> None:
    outcome = vox("mens", "train", "--json")
    assert outcome.code == 2
    problems = outcome.document["problems"]
    assert [each["where"] for each in problems] == ["--data", "--output-dir"]
    assert "VOX_MENS_DATA_DIR" in problems[0]["fix"]
    assert "`data_dir:`" in problems[0]["fix"]
