from __future__ import annotations

from collections.abc import Callable

import pytest

from vox_populi.contract.choices import (
    Backend,
    ComputeDtype,
    DeploymentTarget,
    DeviceKind,
    TokenizerKind,
    parse_backend,
    parse_deployment_target,
    parse_device,
    parse_dtype,
    parse_tokenizer,
)
from vox_populi.errors import ConfigError
from vox_tensor.errors import FailureKind


@pytest.mark.parametrize("word", ["lora", "burn", "burn-lora", "burn_lora", " LoRA "])
def test_parse_lora_aliases(word: str) -> None:
    assert parse_backend(word) is Backend.LORA


@pytest.mark.parametrize("word", ["qlora", "candle", "candle-qlora", "candle_qlora", "QLORA"])
def test_parse_qlora_aliases(word: str) -> None:
    assert parse_backend(word) is Backend.QLORA


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
    assert parse_device(word) is device


def test_other_closed_sets_take_their_usual_spellings() -> None:
    assert parse_dtype("bfloat16") is parse_dtype("bf16") is ComputeDtype.BF16
    assert parse_dtype("float32") is parse_dtype("f32") is ComputeDtype.F32
    assert parse_dtype("auto") is ComputeDtype.AUTO
    assert parse_tokenizer("HF") is TokenizerKind.HF
    assert parse_deployment_target("mobile-edge") is DeploymentTarget.MOBILE_EDGE
    assert parse_deployment_target("mobile_edge") is DeploymentTarget.MOBILE_EDGE


@pytest.mark.parametrize(
    ("parse", "flag", "choices"),
    [
        (parse_backend, "--backend", ["lora", "qlora"]),
        (parse_tokenizer, "--tokenizer", ["vox", "hf"]),
        (parse_device, "--device", ["cpu", "cuda", "metal", "best"]),
        (parse_dtype, "--dtype", ["auto", "f32", "bf16"]),
        (parse_deployment_target, "--deployment-target", ["workstation", "mobile_edge"]),
    ],
)
def test_an_unknown_word_is_a_usage_error_that_names_the_choices(
    parse: Callable[[str], object], flag: str, choices: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse("xyzzy")
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("MENS-C001", flag)
    assert all(choice in problem.fix for choice in choices)
    assert caught.value.kind is FailureKind.USAGE


def test_the_nearest_word_is_offered() -> None:
    with pytest.raises(ConfigError, match="Did you mean lora"):
        parse_backend("lorra")
