from __future__ import annotations

from typing import Any

import pytest

from vox_populi.errors import ModelError
from vox_populi.hf.model_config import ModelConfig, parse_model_config

Config = dict[str, Any]
FACTORS = {
    "embedding_multiplier": 12.0,
    "attention_multiplier": 0.0078125,
    "residual_multiplier": 0.22,
    "logits_scaling": 16,
}


def parsed(raw: Config, **changes: Any) -> ModelConfig:
    changes = {"model_type": "granite", "architectures": ["GraniteForCausalLM"], **changes}
    return parse_model_config(raw | changes, "config.json")


def scales(config: ModelConfig) -> tuple[float, ...]:
    return (
        config.embedding_scale,
        config.attention_scale,
        config.residual_scale,
        config.logit_scale,
    )


def test_logits_are_divided_and_the_rest_is_multiplied(llama: Config) -> None:
    assert scales(parsed(llama, **FACTORS)) == (12.0, 0.0078125, 0.22, 1 / 16)


def test_without_its_fields_every_factor_is_one_as_in_its_class(llama: Config) -> None:
    assert scales(parsed(llama)) == (1.0, 1.0, 1.0, 1.0)


def test_the_factors_are_granite_s_alone(llama: Config) -> None:
    plain = parse_model_config(llama, "config.json")
    assert scales(plain) == (1.0, plain.head_dim**-0.5, 1.0, 1.0)
    assert parse_model_config(llama | FACTORS, "config.json") == plain


@pytest.mark.parametrize("name", FACTORS)
@pytest.mark.parametrize("value", [0, -1, "12", 1e40])
def test_a_factor_that_is_no_positive_number_is_named(
    llama: Config, name: str, value: object
) -> None:
    with pytest.raises(ModelError, match=f"MENS-H012.*{name}"):
        parsed(llama, **{name: value})
