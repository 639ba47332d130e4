"""What a plan says of a mixture: parameters, those a token uses, and what of them is adapted."""

from __future__ import annotations

from vox_populi.contract.adapter_target import parse_targets
from vox_populi.contract.choices import ActivationMemoryChoice
from vox_populi.hf.family_registry import family_of
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.plan.coverage import coverage_of
from vox_populi.plan.memory_estimate import activations_per_token, count_parameters, kept_per_token
from vox_populi.plan.target_modules import select_adapters


def mixture(**changes: object) -> ModelConfig:
    family = family_of("qwen3_moe")
    assert family is not None
    return parse_model_config({**family.tiny, **changes}, "test")


def adapted(config: ModelConfig, targets: str) -> list[str]:
    return [m.ours for m in select_adapters(config, parse_targets(targets)).modules]


def test_the_published_30b_has_30_5_billion_parameters_and_3_3_active() -> None:
    config = mixture(
        vocab_size=151_936,
        hidden_size=2048,
        num_hidden_layers=48,
        num_attention_heads=32,
        num_key_value_heads=4,
        head_dim=128,
        num_experts=128,
        num_experts_per_tok=8,
        moe_intermediate_size=768,
    )
    coverage = coverage_of(config, ())
    assert coverage is not None
    assert coverage.total == count_parameters(config) == 30_532_122_624
    assert round(coverage.active / 1e9, 1) == 3.4
    assert coverage.expert_layers == 48 * 128 * 3


def test_every_role_counts_what_it_covers() -> None:
    config = mixture(mlp_only_layers=[1])
    everything = coverage_of(config, select_adapters(config, None).modules)
    assert everything is not None
    d, x, f, q = 16, 12, 24, 4 * 8
    assert dict(everything.by_role) == {
        "q": 2 * d * q,
        "k": 2 * d * q // 2,
        "v": 2 * d * q // 2,
        "o": 2 * d * q,
        "experts.gate": 4 * d * x,
        "experts.up": 4 * d * x,
        "experts.down": 4 * d * x,
        "gate": d * f,
        "up": d * f,
        "down": d * f,
    }
    assert everything.adapted_expert_layers == everything.expert_layers == 12
    part = coverage_of(config, select_adapters(config, parse_targets("q,v")).modules)
    assert part is not None
    assert part.adapted_expert_layers == 0
    assert "0 of 12 experts' projections; the router stays frozen" in part.as_text()


def test_the_router_is_no_target_and_a_role_covers_every_expert() -> None:
    config = mixture()
    assert not any("router" in name for name in adapted(config, "all"))
    assert len(adapted(config, "up")) == 2 * 4


def test_activations_count_the_experts_of_a_token() -> None:
    config, dense = mixture(mlp_only_layers=[1]), mixture(mlp_only_layers=[0, 1])
    kept = 16 + 2 * 2 * 12 + 2 * 4 + 8 * 2
    outside = activations_per_token(dense) - 2 * 24
    assert activations_per_token(config) == outside + max(kept, 48)
    both = kept_per_token(config, (), ActivationMemoryChoice.NONE)
    assert both == 2 * outside + kept + 48
    experts = [m for m in select_adapters(config, None).modules if m.in_expert]
    masks = kept_per_token(config, experts, ActivationMemoryChoice.NONE) - both
    # Gate and up read D features and down X, for two experts of four.
    assert masks == 2 * (16 + 16 + 12)
