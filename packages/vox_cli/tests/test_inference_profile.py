"""The source system's variables about inference: profile, server, hints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from vox_cli.capability_hints import capability_hints
from vox_cli.inference_profile import InferenceProfile, inference_profile, server_address
from vox_populi.errors import ConfigError

Vox = Callable[..., Any]


@pytest.mark.parametrize(
    ("word", "profile"),
    [
        (None, "desktop_ollama"),
        ("", "desktop_ollama"),
        ("ollama", "desktop_ollama"),
        (" Mobile_LiteRT ", "mobile_litert"),
        ("litert", "mobile_litert"),
        ("coreml", "mobile_coreml"),
        ("mobile_coreml", "mobile_coreml"),
        ("cloud", "cloud_openai_compatible"),
        ("lan", "lan_gateway"),
    ],
)
def test_a_profile_is_read_as_in_the_source_system(word: str | None, profile: str) -> None:
    environment = {} if word is None else {"VOX_INFERENCE_PROFILE": word}
    assert inference_profile(environment) == profile


def test_a_word_that_is_no_profile_is_refused_and_not_replaced() -> None:
    with pytest.raises(ConfigError, match=r"MENS-V051.*VOX_INFERENCE_PROFILE.*lan_gateway"):
        inference_profile({"VOX_INFERENCE_PROFILE": "phone"})


@pytest.mark.parametrize(
    ("profile", "environment", "address"),
    [
        ("desktop_ollama", {}, "http://localhost:11434"),
        ("desktop_ollama", {"OLLAMA_URL": "http://a:1", "POPULI_URL": "http://b:2"}, "http://b:2"),
        ("desktop_ollama", {"OLLAMA_HOST": "box:3"}, "http://box:3"),
        ("lan_gateway", {}, None),
        ("lan_gateway", {"OLLAMA_URL": "https://me:secret@gate/x?key=1"}, "https://gate"),
        ("lan_gateway", {"OLLAMA_URL": "http://[::1]:9"}, "http://[::1]:9"),
        ("lan_gateway", {"OLLAMA_URL": "http://gate:none"}, None),
        ("lan_gateway", {"OLLAMA_URL": "http://"}, None),
        ("mobile_litert", {"POPULI_URL": "http://b:2"}, None),
        ("cloud_openai_compatible", {"POPULI_URL": "http://b:2"}, None),
    ],
)
def test_only_two_profiles_have_a_server_and_its_secrets_are_left_out(
    profile: str, environment: Mapping[str, str], address: str | None
) -> None:
    assert server_address(InferenceProfile(profile), environment) == address


def test_hints_are_what_was_found_and_what_the_variables_add() -> None:
    found = capability_hints({}, ["cuda", "cpu"], 8, "x86_64").as_json()
    assert found == {
        "gpu_cuda": True,
        "gpu_metal": False,
        "gpu_vulkan": False,
        "gpu_webgpu": False,
        "npu": False,
        "cpu_cores": 8,
        "arch": "x86_64",
    }
    variables = {
        "VOX_MESH_ADVERTISE_GPU": "true",
        "VOX_MESH_ADVERTISE_VULKAN": "1",
        "VOX_MESH_ADVERTISE_WEBGPU": "no",
        "VOX_MESH_ADVERTISE_NPU": "TRUE",
        "VOX_MESH_DEVICE_CLASS": " mobile ",
        "VOX_MESH_LABELS": "pool=a,, b ,b",
    }
    hints = capability_hints(variables, ["metal"], 4, "aarch64")
    assert (hints.gpu_cuda, hints.gpu_metal, hints.gpu_vulkan) == (True, True, True)
    assert (hints.gpu_webgpu, hints.npu, hints.device_class) == (False, True, "mobile")
    assert hints.labels == ("pool=a", "b")
    assert hints.words().endswith("device_class mobile, cpu_cores 4, arch aarch64, labels pool=a+b")


@pytest.mark.parametrize(("profile", "code"), [("litert", 7), ("coreml", 3), ("lan", 2), ("x", 2)])
def test_a_profile_of_a_device_chooses_the_format_of_an_export(
    vox: Vox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, code: int
) -> None:
    monkeypatch.setenv("VOX_INFERENCE_PROFILE", profile)
    monkeypatch.setattr("vox_populi.extras.is_installed", lambda _: False)
    outcome = vox("mens", "export-mobile", "run", "--output-dir", tmp_path / "out")
    assert outcome.code == code, outcome.err
    flagged = vox("mens", "export-mobile", "run", "--for", "onnx", "--output-dir", tmp_path / "out")
    assert flagged.code == 7


def test_doctor_shows_profile_and_hints_and_survives_a_wrong_word(
    vox: Vox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vox_populi.extras.is_installed", lambda _: False)
    document = vox("mens", "doctor", "--json").document
    assert document["inference_profile"]["server"] == "http://localhost:11434"
    assert document["capability_hints"]["cpu_cores"] >= 1
    monkeypatch.setenv("VOX_INFERENCE_PROFILE", "phone")
    outcome = vox("mens", "doctor", "--json")
    assert (outcome.code, outcome.document["inference_profile"]["name"]) == (0, None)
    assert "MENS-V051" in outcome.document["inference_profile"]["problem"]
