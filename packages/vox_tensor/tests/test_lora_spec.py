from __future__ import annotations

import dataclasses
import math

import pytest

from vox_tensor.lora_spec import LoraSpec, lora_memory_estimate, lora_param_count


def test_lora_config_defaults() -> None:
    spec = LoraSpec()
    assert (spec.rank, spec.alpha, spec.dropout, spec.use_rslora) == (8, 16.0, 0.0, False)


def test_lora_scale_calculation() -> None:
    assert LoraSpec(rank=8, alpha=16.0).scale == 2.0
    assert LoraSpec(rank=16, alpha=16.0).scale == 1.0


def test_rslora_scale_divides_by_the_root_of_the_rank() -> None:
    assert LoraSpec(rank=16, alpha=32.0, use_rslora=True).scale == 8.0
    assert LoraSpec(rank=16, alpha=32.0).scale == 2.0


def test_lora_memory_estimate_reasonable() -> None:
    savings = lora_memory_estimate(512, 512, rank=8)
    assert (savings.lora, savings.full) == (8192, 262144)
    assert savings.saving_pct > 90


@pytest.mark.parametrize(
    ("in_features", "out_features", "rank", "expected"),
    [(768, 768, 8, 12288), (896, 128, 4, 4096), (1, 1, 1, 2)],
)
def test_lora_param_count_matches_formula(
    in_features: int, out_features: int, rank: int, expected: int
) -> None:
    assert lora_param_count(in_features, out_features, rank) == expected
    assert lora_memory_estimate(in_features, out_features, rank).lora == expected


def test_param_count_does_not_depend_on_the_scale() -> None:
    # The source system multiplies by `scale as usize` instead of the rank.
    assert lora_param_count(64, 32, LoraSpec(rank=8, alpha=8.0).rank) == 8 * (64 + 32)


@pytest.mark.parametrize("rank", [0, -1])
def test_rank_below_one_is_refused(rank: int) -> None:
    with pytest.raises(ValueError, match="rank"):
        LoraSpec(rank=rank)


@pytest.mark.parametrize("alpha", [0.0, -1.0, math.nan, math.inf])
def test_alpha_must_be_finite_and_positive(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        LoraSpec(alpha=alpha)


@pytest.mark.parametrize("dropout", [-0.1, 1.0, math.nan])
def test_dropout_must_be_a_probability_below_one(dropout: float) -> None:
    with pytest.raises(ValueError, match="dropout"):
        LoraSpec(dropout=dropout)


def test_spec_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        LoraSpec().rank = 4  # type: ignore[misc]  # frozen, as the test says
