"""`adapter_config.json`: sorted and without keys of ours; what it cannot mean for us, by name."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from vox_populi.adapters.peft.config import peft_config_text, read_peft_config, target_names
from vox_populi.errors import ArtifactError
from vox_populi.hf.keymap import AdapterModule, ProjectionRole
from vox_tensor.lora_spec import LoraSpec

GPT2_PATHS = tuple(
    f"transformer.h.{layer}.{name}"
    for layer in range(2)
    for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
)
PLAIN: dict[str, Any] = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj"],
    "base_model_name_or_path": "somewhere/base",
}


def module(theirs: str) -> AdapterModule:
    return AdapterModule("blocks.0.x", theirs, (ProjectionRole.Q,), 4, 8, fan_in_fan_out=False)


def written(folder: Path, **changes: object) -> Path:
    text = json.dumps({**PLAIN, **changes})
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")
    return folder


def test_the_text_is_sorted_and_has_no_key_of_ours() -> None:
    spec = LoraSpec(rank=4, alpha=8.0, dropout=0.1)
    text = peft_config_text(spec, [module("a.q_proj")], ["v_proj", "q_proj"], "base")
    values = json.loads(text)
    assert text == json.dumps(values, indent=2, sort_keys=True)
    assert values["target_modules"] == ["q_proj", "v_proj"]
    assert isinstance(values["lora_alpha"], int)
    assert sorted(values) == [
        "alpha_pattern",
        "base_model_name_or_path",
        "bias",
        "fan_in_fan_out",
        "inference_mode",
        "lora_alpha",
        "lora_dropout",
        "modules_to_save",
        "peft_type",
        "r",
        "rank_pattern",
        "revision",
        "target_modules",
        "task_type",
        "use_dora",
        "use_rslora",
    ]
    half = json.loads(peft_config_text(LoraSpec(rank=4, alpha=7.5), [], ["a"], "base"))
    assert half["lora_alpha"] == 7.5


def test_names_are_as_short_as_they_may_be() -> None:
    only_o = [path for path in GPT2_PATHS if path.endswith("attn.c_proj")]
    assert target_names(only_o, GPT2_PATHS) == ("attn.c_proj",)
    assert target_names(GPT2_PATHS, GPT2_PATHS) == ("c_attn", "c_fc", "c_proj")
    one_layer = ["transformer.h.1.mlp.c_fc"]
    assert target_names(one_layer, GPT2_PATHS) == ("1.mlp.c_fc",)


def test_a_peft_config_is_read_into_our_settings(tmp_path: Path) -> None:
    config = read_peft_config(written(tmp_path, use_rslora=True, lora_dropout=0.25))
    assert config.lora == LoraSpec(rank=4, alpha=8.0, dropout=0.25, use_rslora=True)
    assert config.base_name == "somewhere/base"
    assert config.covers(module("model.layers.0.self_attn.q_proj"))
    assert not config.covers(module("model.layers.0.self_attn.xq_proj"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("peft_type", "LOHA"),
        ("use_dora", True),
        ("modules_to_save", ["lm_head"]),
        ("bias", "lora_only"),
        ("lora_bias", True),
        ("trainable_token_indices", [1]),
        ("layer_replication", [[0, 1]]),
        ("init_lora_weights", "pissa"),
        ("a_setting_of_tomorrow", {"on": True}),
    ],
)
def test_unsupported_peft_settings_are_refused_by_name(
    field: str, value: object, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError) as caught:
        read_peft_config(written(tmp_path, **{field: value}))
    (problem,) = caught.value.problems
    assert problem.code == "MENS-A062"
    assert problem.what.startswith(f"{field} is ")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rank_pattern", {}),
        ("modules_to_save", None),
        ("bias", "none"),
        ("init_lora_weights", "gaussian"),
        ("a_setting_of_tomorrow", None),
    ],
)
def test_settings_that_change_nothing_are_taken(field: str, value: object, tmp_path: Path) -> None:
    assert read_peft_config(written(tmp_path, **{field: value})).lora.rank == 4


@pytest.mark.parametrize(
    ("key", "path", "is_matched"),
    [
        ("q_proj", "model.layers.0.self_attn.q_proj", True),
        ("q_proj", "model.layers.0.self_attn.xq_proj", False),
        ("q_proj", "q_proj", True),
        ("layers.1.self_attn.q_proj", "model.layers.1.self_attn.q_proj", True),
        ("layers.1.self_attn.q_proj", "model.layers.11.self_attn.q_proj", False),
        (r"layers\.[01]\..*_proj", "model.layers.1.mlp.up_proj", True),
        (r"layers\.[01]\..*_proj", "model.layers.2.mlp.up_proj", False),
        ("^model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.q_proj", True),
        ("q_proj|v_proj", "model.layers.0.self_attn.v_proj", True),
    ],
)
def test_patterns_match_as_in_peft(key: str, path: str, is_matched: bool, tmp_path: Path) -> None:
    # PEFT's own rule, in `get_pattern_key`.
    assert bool(re.match(rf"(.*\.)?({key})$", path)) is is_matched
    config = read_peft_config(written(tmp_path, rank_pattern={key: 2}, alpha_pattern={key: 3.5}))
    expected = LoraSpec(rank=2, alpha=3.5) if is_matched else config.lora
    assert config.spec_of(module(path)) == expected


def test_the_first_pattern_that_matches_counts(tmp_path: Path) -> None:
    config = read_peft_config(written(tmp_path, rank_pattern={"q_proj": 1, "0.q_proj": 2}))
    assert config.spec_of(module("a.0.q_proj")).rank == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rank_pattern", ["q_proj"]),
        ("rank_pattern", {"q_proj": 0}),
        ("rank_pattern", {"q_proj": "4"}),
        ("alpha_pattern", {"q_proj": -1.0}),
        ("rank_pattern", {"(?=q)q_proj": 4}),
        ("rank_pattern", {"(": 4}),
        ("rank_pattern", {"((a+)+)" * 90: 4}),
    ],
)
def test_unusable_patterns_are_refused(name: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        read_peft_config(written(tmp_path, **{name: value}))
    assert [problem.code for problem in caught.value.problems] == ["MENS-A061"]


def test_every_setting_in_the_way_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        read_peft_config(written(tmp_path, use_dora=True, bias="all"))
    assert [problem.code for problem in caught.value.problems] == ["MENS-A062"] * 2


@pytest.mark.parametrize(
    "changes",
    [{"r": 0}, {"r": "4"}, {"lora_alpha": None}, {"target_modules": None}, {"use_rslora": 1}],
)
def test_a_config_without_its_numbers_is_refused(
    changes: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError) as caught:
        read_peft_config(written(tmp_path, **changes))
    assert caught.value.problems[0].code == "MENS-A061"


def test_layers_and_exclusions_narrow_the_targets(tmp_path: Path) -> None:
    folder = written(
        tmp_path,
        target_modules=["q_proj", "k_proj"],
        layers_to_transform=[1],
        exclude_modules=["k_proj"],
    )
    config = read_peft_config(folder)
    assert config.covers(module("model.layers.1.self_attn.q_proj"))
    assert not config.covers(module("model.layers.0.self_attn.q_proj"))
    assert not config.covers(module("model.layers.1.self_attn.k_proj"))


def test_a_missing_config_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        read_peft_config(tmp_path)
    assert caught.value.problems[0].code == "MENS-A060"
