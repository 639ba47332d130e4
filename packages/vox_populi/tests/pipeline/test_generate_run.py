"""Generation: adapters are used, seeds repeat, prompts that do not fit are refused first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import ConfigError, DataError
from vox_populi.pipeline.dispatch import (
    GenerateRequest,
    GenerateResult,
    RunOptions,
    TrainReport,
    WeightsChoice,
    generate,
    run_training,
)

MakeContract = Callable[..., FinetuneContract]


@pytest.fixture
def contract(make_contract: MakeContract) -> FinetuneContract:
    return make_contract(learning_rate=0.1, epochs=20)


@pytest.fixture
def run(contract: FinetuneContract) -> TrainReport:
    return run_training(contract, RunOptions())


def continue_with(weights: WeightsChoice, **changes: Any) -> list[GenerateResult]:
    settings: dict[str, Any] = {"prompts": ("Say one.", "Say two."), "max_new_tokens": 6}
    return list(generate(GenerateRequest(weights=weights, **{**settings, **changes})))


def base_weights(contract: FinetuneContract) -> WeightsChoice:
    return WeightsChoice(model_dir=contract.model_dir, tokenizer=TokenizerKind.VOX, threads=1)


def test_a_trained_run_writes_something_else_than_its_base(
    contract: FinetuneContract, run: TrainReport
) -> None:
    base = continue_with(base_weights(contract))
    trained = continue_with(WeightsChoice(run=run.run, threads=1))
    assert [result.prompt for result in trained] == ["Say one.", "Say two."]
    assert [result.ids for result in base] != [result.ids for result in trained]
    assert all(result.stop_reason in ("length", "stop_token") for result in base + trained)
    assert set(trained[0].as_json()) == {"prompt", "text", "ids", "stop_reason"}


def test_sampling_repeats_with_its_seed_and_only_with_it(contract: FinetuneContract) -> None:
    weights = base_weights(contract)
    sampled = [continue_with(weights, temperature=2.0, seed=seed) for seed in (0, 0, 9)]
    assert sampled[0] == sampled[1]
    assert sampled[0] != sampled[2]


def test_prompts_do_not_change_each_other(contract: FinetuneContract) -> None:
    weights = base_weights(contract)
    both = continue_with(weights, temperature=2.0)
    alone = continue_with(weights, temperature=2.0, prompts=("Say one.",))
    assert both[0] == alone[0]


def test_prompts_that_do_not_fit_are_refused_all_at_once(contract: FinetuneContract) -> None:
    with pytest.raises(DataError) as caught:
        continue_with(base_weights(contract), prompts=("x" * 200, "fits", "y" * 300))
    assert [problem.code for problem in caught.value.problems] == ["MENS-R011"] * 2


@pytest.mark.parametrize(
    "setting", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_k": 0}, {"max_new_tokens": 0}]
)
def test_settings_out_of_range_are_usage_errors(
    contract: FinetuneContract, setting: dict[str, Any]
) -> None:
    (name,) = setting
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')}"):
        continue_with(base_weights(contract), **setting)
