from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from vox_populi.contract.choices import DeploymentTarget, DeviceKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.presets import PRESET_ALIASES, PRESETS, find_preset, is_preset
from vox_populi.errors import ConfigError

# rank, alpha, seq, batch, accumulation, epochs, warm-up, learning rate: the source's table.
SOURCE_TABLE = {
    "tiny": (4, 8, 128, 1, 1, 1, 10, 1e-4),
    "safe": (8, 16, 256, 2, 8, 3, 50, 2e-4),
    "4080": (16, 32, 384, 1, 8, 3, 80, 1.5e-4),
    "a100": (32, 64, 1024, 8, 2, 3, 200, 2e-4),
    "distributed": (16, 32, 512, 4, 8, 3, 150, 1.5e-4),
    "mobile_edge": (8, 16, 256, 1, 8, 3, 40, 1.5e-4),
    "vox-gen": (16, 32, 256, 2, 8, 5, 60, 1.5e-4),
}


def test_the_source_systems_presets_have_its_values_and_there_may_be_more() -> None:
    ours = {
        name: (
            preset.rank,
            preset.alpha,
            preset.seq_len,
            preset.batch_size,
            preset.grad_accum,
            preset.epochs,
            preset.warmup_steps,
            preset.learning_rate,
        )
        for name, preset in PRESETS.items()
    }
    assert {name: ours[name] for name in SOURCE_TABLE} == SOURCE_TABLE


def test_every_alias_names_a_row_and_hides_none() -> None:
    assert set(PRESET_ALIASES.values()) <= PRESETS.keys()
    assert not PRESET_ALIASES.keys() & PRESETS.keys()


def test_a_card_has_the_preset_of_one_with_its_memory() -> None:
    assert find_preset("H100") is find_preset("a100")


def test_the_4080_has_two_names() -> None:
    assert find_preset("qwen_4080_16g") is find_preset("4080") is find_preset(" Default ")
    assert find_preset("4080_safe") is find_preset("safe")


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"MENS-C001.*Did you mean a100"):
        find_preset("a1000")
    assert not is_preset("a1000")


@pytest.mark.parametrize("name", [*PRESETS, *PRESET_ALIASES])
def test_every_preset_makes_a_contract(name: str) -> None:
    values = {k: v for k, v in dataclasses.asdict(find_preset(name)).items() if v is not None}
    made = FinetuneContract.of(data_dir=Path("d"), output_dir=Path("o"), preset=name, **values)
    assert made.lora.rank == find_preset(name).rank


def test_mobile_edge_brings_its_device() -> None:
    preset = find_preset("mobile_edge")
    assert preset.device is DeviceKind.CPU
    assert preset.deployment_target is DeploymentTarget.MOBILE_EDGE


def test_small_data_keeps_epochs_and_warmup_in_bounds() -> None:
    assert find_preset("tiny").for_small_data() == (2, 10)
    assert find_preset("a100").for_small_data() == (3, 50)
    assert find_preset("vox-gen").for_small_data() == (5, 50)
