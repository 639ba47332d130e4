"""PEFT folders: what we write is deterministic, what we read must fit to the last tensor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vox_populi.adapters.peft.adapter import imported_files, peft_files, read_peft_adapter
from vox_populi.adapters.peft.tensors import peft_keys
from vox_populi.errors import ArtifactError
from vox_populi.files.whole_file import write_whole
from vox_populi.hf.keymap import AdapterModule, adapter_modules
from vox_populi.hf.model_config import ModelConfig
from vox_tensor.lora_spec import LoraSpec

SPEC = LoraSpec(rank=2, alpha=6.0)
WEIGHTS = "adapter_model.safetensors"
Q0_A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def write(folder: Path, files: dict[str, list[bytes | memoryview]] | None) -> Path:
    assert files is not None
    folder.mkdir(exist_ok=True)
    for name, chunks in files.items():
        write_whole(folder / name, *chunks)
    return folder


@pytest.fixture
def modules(llama_config: ModelConfig) -> list[AdapterModule]:
    return [m for m in adapter_modules(llama_config) if m.theirs.endswith(("q_proj", "v_proj"))]


@pytest.fixture
def tensors(modules: list[AdapterModule]) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    made: dict[str, Tensor] = {}
    for m in modules:
        made[f"{m.ours}.lora_A"] = torch.randn(2, m.in_features, generator=generator)
        made[f"{m.ours}.lora_B"] = torch.randn(m.out_features, 2, generator=generator)
    return made


@pytest.fixture
def folder(
    tmp_path: Path,
    modules: list[AdapterModule],
    tensors: dict[str, Tensor],
    llama_config: ModelConfig,
) -> Path:
    return write(tmp_path / "peft", peft_files(SPEC, modules, tensors, llama_config, "base"))


def changed(folder: Path, **changes: Tensor | None) -> None:
    """Write the container again with some tensors replaced, added or left out."""
    held = {**load_file(folder / WEIGHTS), **changes}
    kept = {name: tensor for name, tensor in held.items() if tensor is not None}
    save_file(kept, folder / WEIGHTS, {"format": "pt"})


def test_names_shapes_and_metadata_are_those_of_peft(folder: Path) -> None:
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert tuple(file.get_slice(Q0_A).get_shape()) == (2, 8)
        names = set(file.keys())
    assert len(names) == 8
    assert all(name.startswith("base_model.model.model.layers.") for name in names)
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    assert settings["target_modules"] == ["q_proj", "v_proj"]
    assert settings["fan_in_fan_out"] is False


def test_the_same_adapter_is_the_same_bytes(
    folder: Path,
    tmp_path: Path,
    modules: list[AdapterModule],
    tensors: dict[str, Tensor],
    llama_config: ModelConfig,
) -> None:
    turned = dict(reversed(tensors.items()))
    again = peft_files(SPEC, modules[::-1], turned, llama_config, "base")
    write(tmp_path / "again", again)
    for entry in folder.iterdir():
        assert (tmp_path / "again" / entry.name).read_bytes() == entry.read_bytes()


def test_what_is_written_is_read(
    folder: Path,
    modules: list[AdapterModule],
    tensors: dict[str, Tensor],
    llama_config: ModelConfig,
) -> None:
    read, _ = read_peft_adapter(folder, llama_config)
    assert read.header.lora == SPEC
    assert [m.ours for m in read.header.modules] == [m.ours for m in modules]
    assert read.tensors.keys() == tensors.keys()
    assert all(torch.equal(read.tensors[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_files_of_narrow_numbers_come_back_to_the_byte(
    folder: Path,
    tmp_path: Path,
    modules: list[AdapterModule],
    llama_config: ModelConfig,
    dtype: torch.dtype,
) -> None:
    changed(folder, **{name: t.to(dtype) for name, t in load_file(folder / WEIGHTS).items()})
    read, _ = read_peft_adapter(folder, llama_config)
    assert read.header.imported is not None
    assert all(tensor.dtype == torch.float32 for tensor in read.tensors.values())
    again = write(tmp_path / "again", imported_files(read.header.imported, modules, read.tensors))
    for entry in folder.iterdir():
        assert (again / entry.name).read_bytes() == entry.read_bytes()


def test_other_numbers_are_not_passed_off_as_the_imported_file(
    folder: Path, modules: list[AdapterModule], llama_config: ModelConfig
) -> None:
    halves = {name: t.to(torch.float16) for name, t in load_file(folder / WEIGHTS).items()}
    changed(folder, **halves)
    read, _ = read_peft_adapter(folder, llama_config)
    assert read.header.imported is not None
    moved = {name: tensor + 1e-7 for name, tensor in read.tensors.items()}
    assert imported_files(read.header.imported, modules, moved) is None


def test_missing_and_unexpected_tensors_name_each_other(
    folder: Path, llama_config: ModelConfig
) -> None:
    slip = Q0_A.replace("q_proj", "q_porj")
    changed(folder, **{slip: torch.zeros(2, 8), Q0_A: None})
    with pytest.raises(ArtifactError) as caught:
        read_peft_adapter(folder, llama_config)
    missing, unexpected = caught.value.problems
    assert (missing.code, unexpected.code) == ("MENS-A063", "MENS-A064")
    assert Q0_A in missing.what
    assert slip in missing.what
    assert Q0_A in unexpected.what


def test_wrong_shapes_types_and_numbers_are_refused(
    folder: Path, llama_config: ModelConfig
) -> None:
    for tensor, code in (
        (torch.zeros(3, 8), "MENS-A065"),
        (torch.zeros(2, 8, dtype=torch.float64), "MENS-A066"),
        (torch.full((2, 8), float("nan")), "MENS-A010"),
    ):
        changed(folder, **{Q0_A: tensor})
        with pytest.raises(ArtifactError) as caught:
            read_peft_adapter(folder, llama_config)
        assert [problem.code for problem in caught.value.problems] == [code]


def test_a_pattern_leaves_the_choice_to_the_tensors(
    folder: Path, llama_config: ModelConfig
) -> None:
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(settings | {"target_modules": r".*\.(q|v)_proj"}), encoding="utf-8")
    read, notes = read_peft_adapter(folder, llama_config)
    assert len(read.header.modules) == 4
    assert notes


def test_a_base_of_another_family_fits_nowhere(folder: Path, gpt2_config: ModelConfig) -> None:
    with pytest.raises(ArtifactError) as caught:
        read_peft_adapter(folder, gpt2_config)
    assert {problem.code for problem in caught.value.problems} == {"MENS-A064"}


def test_a_pickle_is_not_opened(folder: Path, llama_config: ModelConfig) -> None:
    (folder / WEIGHTS).write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(ArtifactError) as caught:
        read_peft_adapter(folder, llama_config)
    assert caught.value.problems[0].code.startswith("MENS-H")


def test_keys_are_those_of_the_format(modules: list[AdapterModule]) -> None:
    assert peft_keys(modules[0])[0] == Q0_A
