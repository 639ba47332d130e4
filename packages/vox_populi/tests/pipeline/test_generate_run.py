"""Generation: adapters are used, seeds repeat, prompts that do not fit are refused first."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import ArtifactError, ConfigError, ContractError, DataError, ModelError
from vox_populi.pipeline.generate import (
    GenerateRequest,
    GenerateResult,
    Prompt,
    generate,
    load_model,
)
from vox_populi.pipeline.train import RunOptions, TrainReport, run_training
from vox_populi.pipeline.weights_choice import WeightsChoice

MakeContract = Callable[..., FinetuneContract]


@pytest.fixture
def contract(make_contract: MakeContract) -> FinetuneContract:
    return make_contract(learning_rate=0.1, epochs=20)


@pytest.fixture
def run(contract: FinetuneContract) -> TrainReport:
    return run_training(contract, RunOptions())


def continue_with(weights: WeightsChoice, **changes: Any) -> list[GenerateResult]:
    settings: dict[str, Any] = {
        "prompts": (Prompt("Say one."), Prompt("Say two.")),
        "max_new_tokens": 6,
    }
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
    alone = continue_with(weights, temperature=2.0, prompts=(Prompt("Say one."),))
    assert both[0] == alone[0]


def test_prompts_that_do_not_fit_are_refused_all_at_once(contract: FinetuneContract) -> None:
    with pytest.raises(DataError) as caught:
        continue_with(
            base_weights(contract), prompts=tuple(map(Prompt, ("x" * 200, "fits", "y" * 300)))
        )
    assert [problem.code for problem in caught.value.problems] == ["MENS-R011"] * 2


@pytest.mark.parametrize(
    "setting",
    [
        {"temperature": -1.0},
        {"temperature": 1e-40},
        {"repetition_penalty": 1e-40},
        {"seed": 2**63},
        {"top_p": 0.0},
        {"top_k": 0},
        {"max_new_tokens": 0},
        {"repetition_penalty": 0.0},
    ],
)
def test_settings_out_of_range_are_usage_errors(
    contract: FinetuneContract, setting: dict[str, Any]
) -> None:
    (name,) = setting
    with pytest.raises(ConfigError, match=f"--{name.replace('_', '-')}"):
        continue_with(base_weights(contract), **setting)


def test_rows_keep_their_names(contract: FinetuneContract) -> None:
    prompts = (Prompt("Say one.", "a"), Prompt("Say two.", 0), Prompt("Say three."))
    results = continue_with(base_weights(contract), prompts=prompts)
    assert [result.row_id for result in results] == ["a", 0, None]
    assert [result.as_json().get("id", "none") for result in results] == ["a", 0, "none"]


def test_the_generation_config_says_what_ends_a_text(contract: FinetuneContract) -> None:
    assert contract.model_dir is not None
    (whole,) = continue_with(base_weights(contract), prompts=(Prompt("Say one."),))
    stop = whole.ids[-1]
    config = contract.model_dir / "generation_config.json"
    config.write_text(json.dumps({"eos_token_id": [2, stop]}), encoding="utf-8")
    (cut,) = continue_with(base_weights(contract), prompts=(Prompt("Say one."),))
    assert cut.stop_reason == "stop_token"
    assert cut.ids == whole.ids[: whole.ids.index(stop)]
    config.write_text(json.dumps({"eos_token_id": ["no"]}), encoding="utf-8")
    with pytest.raises(ModelError, match="eos_token_id"):
        continue_with(base_weights(contract))


def test_a_repetition_penalty_changes_what_is_written(contract: FinetuneContract) -> None:
    plain = continue_with(base_weights(contract))
    penalised = continue_with(base_weights(contract), repetition_penalty=5.0)
    assert [result.ids for result in plain] != [result.ids for result in penalised]


def test_two_adapters_exclude_each_other(contract: FinetuneContract, run: TrainReport) -> None:
    with pytest.raises(ConfigError, match=r"MENS-U030.*--run and --adapter"):
        continue_with(WeightsChoice(run=run.run, adapter=run.run))


def test_a_peft_folder_needs_its_base(contract: FinetuneContract, tmp_path: Path) -> None:
    folder = tmp_path / "peft"
    folder.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"MENS-U034.*--model"):
        continue_with(WeightsChoice(adapter=folder))


def test_a_checkpoint_folder_answers_and_finds_its_base(contract: FinetuneContract) -> None:
    report = run_training(contract, RunOptions(checkpoint_every=1))
    folder = sorted((report.run / "checkpoints").glob("step-*"), key=lambda p: len(p.name))[-1]
    from_folder = continue_with(WeightsChoice(checkpoint=folder, threads=1))
    from_file = continue_with(WeightsChoice(checkpoint=folder / "adapter.bin", threads=1))
    assert from_folder == from_file
    assert [r.ids for r in from_folder] != [r.ids for r in continue_with(base_weights(contract))]
    adapter = folder / "adapter.bin"
    adapter.write_bytes(adapter.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="step-"):
        continue_with(WeightsChoice(checkpoint=folder, threads=1))


def test_a_small_model_writes_with_one_thread_unless_told_otherwise(
    contract: FinetuneContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", asked.append)
    prompts = (Prompt("Say one."),)
    monkeypatch.setattr("vox_populi.pipeline.machine_probe.count_cpus", lambda: 3)
    continue_with(replace(base_weights(contract), threads=None), prompts=prompts)
    continue_with(replace(base_weights(contract), threads=3), prompts=prompts)
    assert (asked[0], asked[2]) == (1, 3)
    assert asked[1] == asked[3], "what was set before comes back"


def test_more_threads_than_cores_are_refused_before_one_is_started(
    contract: FinetuneContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("torch.set_num_threads", asked.append)
    monkeypatch.setattr("vox_populi.pipeline.machine_probe.count_cpus", lambda: 2)
    with pytest.raises(ContractError, match=r"MENS-C020.*4096 threads.*2 cores"):
        continue_with(replace(base_weights(contract), threads=4096), prompts=(Prompt("x"),))
    assert asked == []


def test_a_loaded_model_answers_as_the_command_does(
    contract: FinetuneContract, run: TrainReport
) -> None:
    weights = WeightsChoice(run=run.run, threads=1)
    model = load_model(weights)
    for settings in ({"max_new_tokens": 6}, {"max_new_tokens": 4, "temperature": 2.0, "seed": 5}):
        (expected,) = continue_with(weights, prompts=(Prompt("Say one."),), **settings)
        assert model.generate("Say one.", **settings) == expected
    base = load_model(base_weights(contract))
    assert base.name == model.name
    assert base.generate("Say one.", max_new_tokens=6) != model.generate(
        "Say one.", max_new_tokens=6
    )
    with pytest.raises(DataError):
        model.generate("Say one. " * 1000)
    with pytest.raises(ConfigError):
        model.generate("Say one.", max_new_tokens=0)
