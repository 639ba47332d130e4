"""What a merge is compared on, and how the difference is judged."""

from __future__ import annotations

import pytest

from vox_populi.hf.model_config import parse_model_config
from vox_populi.merge.logit_check import fixed_prompts
from vox_populi.merge.receipt import LOGIT_TOLERANCES, LogitCheck


def test_merge_prompts_are_fixed_and_fit_the_model() -> None:
    raw = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 4}
    config = parse_model_config({"vocab_size": 11, **raw}, "test")
    prompts = fixed_prompts(config)
    assert prompts == fixed_prompts(config)
    assert all(0 < len(ids) <= 4 for ids in prompts)
    assert all(0 <= token < 11 for ids in prompts for token in ids)
    assert len({token for ids in prompts for token in ids}) > 5


@pytest.mark.parametrize(("difference", "is_within"), [(0.0, True), (1e9, False)])
def test_merge_check_judges_by_its_row(difference: float, is_within: bool) -> None:
    row = LOGIT_TOLERANCES["F32"]
    check = LogitCheck(
        prompts=((1,),),
        method="test",
        max_difference=difference,
        mean_difference=difference,
        largest_logit=2.0,
        allowed=row.bound(2.0),
        tolerance=row,
    )
    assert check.is_within == is_within


def test_merge_check_does_not_believe_nan() -> None:
    row = LOGIT_TOLERANCES["BF16"]
    nan = float("nan")
    check = LogitCheck(
        prompts=((1,),),
        method="test",
        max_difference=nan,
        mean_difference=nan,
        largest_logit=nan,
        allowed=row.bound(nan),
        tolerance=row,
    )
    assert not check.is_within
