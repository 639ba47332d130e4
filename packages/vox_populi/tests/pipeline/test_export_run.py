"""Exports under failure: a folder appears complete or not at all."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.adapters.lora_bin import read_adapter_bin, write_adapter_bin
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.training_text import ChatTemplate
from vox_populi.errors import ArtifactError, EnvironmentFailure
from vox_populi.export.consumers import Consumer
from vox_populi.files import removal
from vox_populi.files import staged_folder as publishing
from vox_populi.hf.embedded import EMBEDDED_NAME, embedded_model_dir
from vox_populi.hf.inventory import base_digest, read_inventory
from vox_populi.hf.keymap import adapter_modules
from vox_populi.merge.serving_handoff import HANDOFF_FILE
from vox_populi.pipeline.export import ExportRequest
from vox_populi.pipeline.export_run import export_adapter
from vox_populi.runs.adapter_place import AdapterForm, AdapterPlace
from vox_populi.runs.find_adapter import FoundAdapter
from vox_tensor.atomic_file import sync_folder
from vox_tensor.lora_spec import LoraSpec


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder that has nothing but its adapter, on the embedded base."""
    config = read_inventory(embedded_model_dir()).config
    header = AdapterHeader(
        lora=LoraSpec(rank=2, alpha=4.0),
        modules=tuple(AdaptedModule.of(module) for module in adapter_modules(config)[:-1]),
        base_name=EMBEDDED_NAME,
        base_digest="sha256:0",
        model_type=config.model_type,
        tokenizer=TokenizerKind.VOX,
        tokenizer_digest="sha256:0",
        template=ChatTemplate.CHATML,
        template_digest="sha256:0",
        system_prompt=None,
        seq_len=64,
        contract_digest="sha256:0",
        step=1,
    )
    folder = tmp_path / "run"
    folder.mkdir()
    tensors = {name: torch.ones(shape) for name, shape in header.tensor_shapes().items()}
    write_adapter_bin(folder / "model_final.bin", header, tensors)
    return folder


def request(run: Path, consumer: Consumer = Consumer.PEFT) -> ExportRequest:
    return ExportRequest(source=run, consumer=consumer, output_dir=run.parent / "out")


@pytest.mark.parametrize("call", ["fsync", "replace", "rename", "mkdir"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_failing_call_publishes_nothing(
    run: Path, call: str, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every call that puts bytes or names on disk, failing at its n-th time."""
    owner = os if call == "fsync" else Path
    real, calls = getattr(owner, call), 0

    def failing(*words: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(28, "No space left on device")
        return real(*words, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, call, failing)
        try:
            export_adapter(request(run))
        except EnvironmentFailure:
            failed = True
        else:
            failed = False
    out = run.parent / "out"
    assert failed == (calls >= nth)
    complete = {
        *("adapter_config.json", "adapter_model.safetensors", "chat_template.jinja"),
        *("generation_config.json", "tokenizer.json", "tokenizer_config.json", HANDOFF_FILE),
    }
    if out.exists():
        assert {entry.name for entry in out.iterdir()} == complete
    assert {entry.name for entry in run.parent.iterdir()} <= {"run", "out"}
    if not out.exists():
        export_adapter(request(run))
    assert {entry.name for entry in out.iterdir()} == complete


def test_the_folder_is_synced_before_and_after_the_rename(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []

    def noted(folder: Path) -> None:
        synced.append(folder.name)
        sync_folder(folder)

    monkeypatch.setattr(removal, "sync_folder", noted)
    monkeypatch.setattr(publishing, "sync_folder", noted)
    export_adapter(request(run))
    assert synced[0].startswith(".out.")
    assert synced[-1] == run.parent.name


def test_an_adapter_that_is_not_there_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        export_adapter(request(tmp_path / "no.bin"))
    assert not (run.parent / "out").exists()


def test_a_base_of_another_family_is_refused(run: Path, tmp_path: Path) -> None:
    """The same shapes, but llama.cpp would want the rows of q and k in another order."""
    config = json.loads((embedded_model_dir() / "config.json").read_text(encoding="utf-8"))
    other = tmp_path / "other"
    shutil.copytree(embedded_model_dir(), other)
    family = "mistral" if config["model_type"] == "llama" else "llama"
    text = json.dumps({**config, "model_type": family, "architectures": None})
    (other / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError) as caught:
        export_adapter(replace(request(run), model_dir=other))
    assert [problem.code for problem in caught.value.problems] == ["MENS-A011"]
    assert not (run.parent / "out").exists()


def test_an_adapter_right_below_the_root_has_no_run_to_ask(run: Path) -> None:
    adapter = read_adapter_bin(run / "model_final.bin")
    place = AdapterPlace(AdapterForm.LORA_BIN, Path("/step-9/adapter.bin"))
    assert place.run == Path("/")
    found = FoundAdapter(place=place, adapter=adapter, base=None)
    assert found.base_folder() is None
    moved = replace(adapter, header=replace(adapter.header, base_name="elsewhere"))
    with pytest.raises(ArtifactError) as caught:
        replace(found, adapter=moved).base_folder()
    assert [problem.code for problem in caught.value.problems] == ["MENS-A012"]
    digest = base_digest(read_inventory(embedded_model_dir()))
    known = replace(moved, header=replace(moved.header, base_name="vox_nano", base_digest=digest))
    assert replace(found, adapter=known).base_folder() == embedded_model_dir()


def test_template_and_end_of_the_training_are_beside_the_adapter(run: Path) -> None:
    report = export_adapter(request(run))
    out = report.output_dir
    settings = json.loads((out / "generation_config.json").read_text(encoding="utf-8"))
    assert settings["eos_token_id"] == [4, 2]
    assert "<|im_start|>" in (out / "chat_template.jinja").read_text(encoding="utf-8")
    shutil.rmtree(out)
    export_adapter(replace(request(run), keep_base_text=True))
    assert not (out / "chat_template.jinja").exists()


@pytest.mark.parametrize("consumer", [Consumer.MLX, Consumer.GGUF])
def test_programs_that_take_a_template_by_a_flag_are_named(run: Path, consumer: Consumer) -> None:
    report = export_adapter(request(run, consumer))
    assert "chat_template.jinja" in report.files
    assert "tokenizer.json" not in report.files
    assert any("chat_template.jinja" in note for note in report.notes)
