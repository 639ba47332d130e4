"""Which adapter a path means: by folder, name and first bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vox_populi.adapters.header import ADAPTER_FORMAT
from vox_populi.errors import ArtifactError
from vox_populi.runs.adapter_place import (
    AdapterForm,
    AdapterPlace,
    adapter_at,
    means_adapter,
    require_run_adapter,
)


def container(path: Path, form: str | None) -> Path:
    """A safetensors file of one number."""
    entries = {"__metadata__": {"format": form}} if form else {}
    tensor = {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    header = json.dumps(entries | tensor).encode().ljust(160)
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return path


def touched(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    return path


def test_a_folder_means_the_adapter_it_holds(tmp_path: Path) -> None:
    assert adapter_at(tmp_path) is None
    run = touched(tmp_path / "model_final.bin")
    assert adapter_at(tmp_path) == AdapterPlace(AdapterForm.LORA_BIN, run)
    for name in ("adapter.safetensors", "candle_qlora_adapter.safetensors"):
        file = touched(tmp_path / name)
        assert adapter_at(tmp_path) == AdapterPlace(AdapterForm.V3, file)
    touched(tmp_path / "adapter_config.json")
    peft = AdapterPlace(AdapterForm.PEFT, tmp_path / "adapter_model.safetensors")
    assert adapter_at(tmp_path) == peft == adapter_at(peft.file)
    assert peft.where == str(tmp_path)


def test_a_checkpoint_folder_means_its_adapter_and_knows_its_run(tmp_path: Path) -> None:
    step = touched(tmp_path / "run" / "checkpoints" / "step-3" / "adapter.bin").parent
    found = adapter_at(step)
    assert found is not None
    assert found.checkpoint is not None
    assert (found.form, found.file) == (AdapterForm.LORA_BIN, step / "adapter.bin")
    assert found.run == tmp_path / "run"
    named = adapter_at(step / "adapter.bin")
    assert named is not None
    assert (named.checkpoint, named.run) == (None, tmp_path / "run")
    assert AdapterPlace(AdapterForm.V3, tmp_path / "run" / "x").run == tmp_path / "run"


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("x.safetensors", None, AdapterForm.V3),
        ("x.safetensors", "pt", AdapterForm.V3),
        ("x.safetensors", ADAPTER_FORMAT, AdapterForm.LORA_BIN),
        ("x.bin", None, AdapterForm.LORA_BIN),
        ("x.bin.gz", "pt", AdapterForm.LORA_BIN),
    ],
)
def test_the_form_of_a_file_is_in_its_name_or_its_header(
    tmp_path: Path, name: str, form: str | None, expected: AdapterForm
) -> None:
    path = container(tmp_path / name, form)
    assert adapter_at(path) == AdapterPlace(expected, path)


def test_a_run_must_have_left_an_adapter(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="MENS-A022"):
        require_run_adapter(tmp_path)
    touched(tmp_path / "request.json")
    with pytest.raises(ArtifactError, match="MENS-A023"):
        require_run_adapter(tmp_path)
    assert not means_adapter(tmp_path)
    file = touched(tmp_path / "model_final.bin")
    assert require_run_adapter(tmp_path) == file
    assert means_adapter(tmp_path)
