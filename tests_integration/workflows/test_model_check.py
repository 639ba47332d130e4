"""`vox mens models check`: bases that pass, leak, fail, are not usable, or are only a name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", reason="needs vox-populi[hub]")
pytest.importorskip("transformers", reason="needs vox-populi[mens-train]")

from tests_integration.foreign_models import write_foreign_model
from tests_integration.hub_stand_in import running_hub
from tests_integration.tiny_models import write_tiny_model
from vox_cli.app import run
from vox_populi.pipeline import graph_proof, model_check
from vox_populi.plan.packing_proof_facts import PackingProof


def check(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = run(["mens", "models", "check", *map(str, argv), "--device", "cpu", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert isinstance(document, dict)
    return code, document


def test_a_native_base_is_described_from_its_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tiny_model(tmp_path / "base", "llama", tokenizer=True)
    code, found = check(capsys, tmp_path / "base")
    assert code == 0
    assert found["graph"] == {"source": "native", "class": "LlamaForCausalLM"}
    assert (found["rows"], found["trainable"], found["weights_here"]) == ("packed", True, True)
    layers = found["n_layers"]
    assert found["adapted_layers"] == dict.fromkeys(
        ("q", "k", "v", "o", "gate", "up", "down"), layers
    )
    assert 0 < found["adapted_share"] < 1
    assert "gradients" in found["proven"]
    assert 0 < found["memory"]["qlora_bytes"] < found["memory"]["lora_bytes"]
    longer = check(capsys, tmp_path / "base", "--seq-len", 1024)[1]
    assert longer["memory"]["lora_bytes"] > found["memory"]["lora_bytes"]
    # A tensor that is missing is a problem of the base.
    (tmp_path / "base/model.safetensors").write_bytes(b"")
    code, broken = check(capsys, tmp_path / "base")
    assert (code, broken["ok"]) == (6, False)
    assert broken["problems"]


def test_a_class_of_transformers_is_proven_or_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_foreign_model(tmp_path, "glm4", tokenizer=True)
    code, found = check(capsys, tmp_path)
    assert (code, found["rows"]) == (0, "packed")
    assert found["graph"]["class"] == "Glm4ForCausalLM"
    assert found["graph"]["differences"]["logits_packed"] < 1e-3
    assert found["adapted_layers"]["gate+up"] == found["n_layers"]

    real = graph_proof.proof_of

    def measured(**changes: object) -> None:
        def proof_of(*given: Any) -> PackingProof:
            proof = real(*given)
            assert proof is not None
            return replace(proof, **changes)  # type: ignore[arg-type] # given by name

        monkeypatch.setattr(model_check, "proof_of", proof_of)

    measured(packed=0.25)
    code, leaking = check(capsys, tmp_path)
    assert (code, leaking["rows"], leaking["trainable"]) == (0, "one at a time", True)
    assert run(["mens", "models", "check", str(tmp_path)]) == 0
    assert "leak: 0.2" in capsys.readouterr().out
    measured(alone=0.5)
    code, refused = check(capsys, tmp_path)
    assert (code, refused["rows"], refused["trainable"]) == (6, "refused", False)
    assert [each["code"] for each in refused["problems"]] == ["MENS-P140"]


def test_a_config_that_nobody_computes_is_refused_with_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "nobody_knows"}', encoding="utf-8")
    code, found = check(capsys, tmp_path)
    assert (code, found["problems"][0]["code"]) == (3, "MENS-H201")
    code, found = check(capsys, tmp_path, "--graph", "native")
    assert code == 3
    assert check(capsys, tmp_path / "gone")[0] == 3


def test_a_name_of_the_hub_costs_its_config_and_tokenizer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_model(tmp_path / "base", "llama", tokenizer=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with running_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        hub.add("org/tiny", {}, tmp_path / "base")
        assert check(capsys, "org/tiny")[0] == 3
        assert hub.asked == []
        code, found = check(capsys, "org/tiny", "--allow-download")
        assert code == 0
        assert (found["model"], found["weights_here"]) == ("org/tiny", False)
        assert "config.json" in hub.fetched()
        assert not any(name.endswith(".safetensors") for name in hub.fetched())
