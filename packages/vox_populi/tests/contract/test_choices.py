from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import pytest

from vox_populi.contract.choices import (
    BACKEND_WORDS,
    DEPLOYMENT_WORDS,
    DEVICE_WORDS,
    DTYPE_WORDS,
    Backend,
    ComputeDtype,
    DeploymentTarget,
    DeviceKind,
    parse_choice,
)
from vox_populi.errors import ConfigError
from vox_tensor.errors import FailureKind


@pytest.mark.parametrize("word", ["lora", "burn", "burn-lora", "burn_lora", " LoRA "])
def test_parse_lora_aliases(word: str) -> None:
    assert parse_choice("--backend", word, BACKEND_WORDS) is Backend.LORA


@pytest.mark.parametrize("word", ["qlora", "candle", "candle-qlora", "candle_qlora", "QLORA"])
def test_parse_qlora_aliases(word: str) -> None:
    assert parse_choice("--backend", word, BACKEND_WORDS) is Backend.QLORA


@pytest.mark.parametrize(
    ("word", "device"),
    [
        ("cpu", DeviceKind.CPU),
        ("", DeviceKind.CPU),
        ("best", DeviceKind.BEST),
        ("auto", DeviceKind.BEST),
        ("default", DeviceKind.BEST),
        ("vulkan", DeviceKind.BEST),
        ("dx12", DeviceKind.BEST),
        ("d3d12", DeviceKind.BEST),
        ("cuda", DeviceKind.CUDA),
        ("GPU", DeviceKind.CUDA),
        ("nvidia", DeviceKind.CUDA),
        ("metal", DeviceKind.METAL),
        ("mps", DeviceKind.METAL),
    ],
)
def test_device_words_of_the_source_system_are_understood(word: str, device: DeviceKind) -> None:
    assert parse_choice("--device", word, DEVICE_WORDS) is device


def test_other_closed_sets_take_their_usual_spellings() -> None:
    for word, dtype in (
        ("bfloat16", ComputeDtype.BF16),
        ("bf16", ComputeDtype.BF16),
        ("float32", ComputeDtype.F32),
        ("f32", ComputeDtype.F32),
        ("auto", ComputeDtype.AUTO),
    ):
        assert parse_choice("--dtype", word, DTYPE_WORDS) is dtype
    for word in ("mobile-edge", "mobile_edge"):
        target = parse_choice("--deployment-target", word, DEPLOYMENT_WORDS)
        assert target is DeploymentTarget.MOBILE_EDGE


@pytest.mark.parametrize(
    ("words", "flag", "choices"),
    [
        (BACKEND_WORDS, "--backend", ["lora", "qlora"]),
        (DEVICE_WORDS, "--device", ["cpu", "cuda", "metal", "best"]),
        (DTYPE_WORDS, "--dtype", ["auto", "f32", "bf16"]),
        (DEPLOYMENT_WORDS, "--deployment-target", ["workstation", "mobile_edge"]),
    ],
)
def test_an_unknown_word_is_a_usage_error_that_names_the_choices(
    words: Mapping[str, StrEnum], flag: str, choices: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_choice(flag, "xyzzy", words)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("MENS-C001", flag)
    assert all(choice in problem.fix for choice in choices)
    assert caught.value.kind is FailureKind.USAGE


def test_the_nearest_word_is_offered() -> None:
    with pytest.raises(ConfigError, match="Did you mean lora"):
        parse_choice("--backend", "lorra", BACKEND_WORDS)
