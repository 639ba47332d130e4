"""Tier A: PEFT's own loader beside ours, in both directions, on the same weights."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests_integration.tiny_models import PLAIN_CASES, VOCAB, write_tiny_model
from tests_integration.tolerances import F32_LOGITS, assert_parity, differs
from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.adapters.lora_bin import read_adapter_bin, write_adapter_bin
from vox_populi.adapters.peft.adapter import read_peft_adapter
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.training_text import ChatTemplate
from vox_populi.errors import ArtifactError
from vox_populi.export.consumers import Consumer
from vox_populi.hf.inventory import base_digest, read_inventory
from vox_populi.hf.keymap import AdapterModule, ProjectionRole, adapter_modules
from vox_populi.model.hf_load import load_base
from vox_populi.model.lora_transformer import attach_adapters, load_adapter_tensors
from vox_populi.pipeline.export import ExportRequest
from vox_populi.pipeline.export_run import export_adapter
from vox_populi.pipeline.import_peft import ImportRequest
from vox_populi.pipeline.import_peft_run import import_adapter
from vox_tensor.collate import collate_window
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import EncodedRow

CASES = (
    *PLAIN_CASES,
    "gpt2_untied",
    "llama_tied",
    "phi3_longrope_tied",
    "qwen2_tied",
    "qwen3_tied_biased",
)
IDS = tuple(torch.randint(3, VOCAB, (23,), generator=torch.Generator().manual_seed(1)).tolist())
PEFT_FILES = ("adapter_config.json", "adapter_model.safetensors")


def block_modules(base: Path) -> list[AdapterModule]:
    modules = adapter_modules(read_inventory(base).config)
    return [module for module in modules if ProjectionRole.LM_HEAD not in module.roles]


def write_adapter(
    path: Path, base: Path, spec: LoraSpec, modules: Sequence[AdapterModule] = ()
) -> dict[str, Tensor]:
    """A random adapter file of ours for a base, on all of its blocks if not said otherwise."""
    inventory = read_inventory(base)
    header = AdapterHeader(
        lora=spec,
        modules=tuple(AdaptedModule.of(module) for module in modules or block_modules(base)),
        base_name=base.name,
        base_digest=base_digest(inventory),
        model_type=inventory.config.model_type,
        tokenizer=TokenizerKind.HF,
        tokenizer_digest="sha256:0",
        template=ChatTemplate.CHATML,
        template_digest="sha256:1",
        system_prompt=None,
        seq_len=64,
        contract_digest="sha256:2",
        step=1,
    )
    generator = torch.Generator().manual_seed(7)
    tensors = {
        name: 0.1 * torch.randn(shape, generator=generator)
        for name, shape in header.tensor_shapes().items()
    }
    write_adapter_bin(path, header, tensors)
    return tensors


def our_logits(base: Path, spec: LoraSpec, tensors: dict[str, Tensor]) -> Tensor:
    model = load_base(read_inventory(base), torch.float32)
    adapted = attach_adapters(model, block_modules(base), spec, torch.Generator())
    load_adapter_tensors(adapted, tensors)
    model.eval()
    with torch.no_grad():
        return model.logits(collate_window([EncodedRow(IDS, IDS, 1)]))


def peft_logits(base: Path, adapter: Path) -> Tensor:
    """What PEFT's loader makes of a folder; a missing or unexpected key is an error here."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    keys = set(load_file(adapter / PEFT_FILES[1]))
    loaded: Any = PeftModel.from_pretrained(model, str(adapter))
    trainable = {
        name.replace(".default.", ".") for name, _ in loaded.named_parameters() if "lora_" in name
    }
    assert trainable == keys, "PEFT must find every tensor of its own, and use every one of ours"
    with torch.no_grad():
        logits: Tensor = loaded.eval()(torch.tensor([IDS])).logits[0]
    return logits


@pytest.mark.parametrize(
    ("rslora", "dtype", "sharded"),
    [(False, torch.float32, False), (True, torch.float32, True), (False, torch.bfloat16, True)],
)
@pytest.mark.parametrize("name", CASES)
def test_peft_loads_our_export_and_computes_the_same(
    name: str, rslora: bool, dtype: torch.dtype, sharded: bool, tmp_path: Path
) -> None:
    write_tiny_model(tmp_path / "base", name, dtype=dtype, sharded=sharded)
    spec = LoraSpec(rank=3, alpha=7.5, dropout=0.05, use_rslora=rslora)
    tensors = write_adapter(tmp_path / "a.bin", tmp_path / "base", spec)
    export(tmp_path, Consumer.PEFT)

    ours = our_logits(tmp_path / "base", spec, tensors)
    without = our_logits(tmp_path / "base", spec, {k: 0 * t for k, t in tensors.items()})
    assert differs(ours, without, F32_LOGITS), "the adapter must change something"
    assert_parity(ours, peft_logits(tmp_path / "base", tmp_path / "peft"), F32_LOGITS)


def test_peft_finds_the_base_of_an_exported_folder(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "base", "llama", sharded=True)
    spec = LoraSpec(rank=3, alpha=7.5)
    tensors = write_adapter(tmp_path / "a.bin", tmp_path / "base", spec)
    export(tmp_path, Consumer.PEFT)
    loaded: Any = AutoPeftModelForCausalLM.from_pretrained(
        str(tmp_path / "peft"), dtype=torch.float32
    )
    with torch.no_grad():
        logits: Tensor = loaded.eval()(torch.tensor([IDS])).logits[0]
    assert_parity(our_logits(tmp_path / "base", spec, tensors), logits, F32_LOGITS)


@pytest.mark.parametrize("name", ["llama", "phi3", "qwen3"])
def test_the_vllm_form_is_the_same_adapter_under_the_plain_scale_rule(
    name: str, tmp_path: Path
) -> None:
    write_tiny_model(tmp_path / "base", name)
    spec = LoraSpec(rank=3, alpha=7.5, use_rslora=True)
    tensors = write_adapter(tmp_path / "a.bin", tmp_path / "base", spec)
    report = export(tmp_path, Consumer.VLLM)
    assert report.rescaled
    settings = json.loads((tmp_path / "vllm" / PEFT_FILES[0]).read_text(encoding="utf-8"))
    assert (settings["use_rslora"], settings["r"], settings["lora_alpha"]) == (False, 3, 7.5)
    ours = our_logits(tmp_path / "base", spec, tensors)
    assert_parity(ours, peft_logits(tmp_path / "base", tmp_path / "vllm"), F32_LOGITS)
    wrong = our_logits(tmp_path / "base", replace(spec, use_rslora=False), tensors)
    assert differs(ours, wrong, F32_LOGITS), "the scale must matter"


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_a_peft_folder_comes_back_byte_for_byte(
    name: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    base = write_tiny_model(tmp_path / "base", name, tokenizer=True)
    save_with_peft(base, block_modules(tmp_path / "base"), dtype, tmp_path / "theirs")
    report = import_adapter(
        ImportRequest(
            source=tmp_path / "theirs", output=tmp_path / "a.bin", model_dir=tmp_path / "base"
        )
    )
    assert report.modules == len(block_modules(tmp_path / "base"))
    export(tmp_path, Consumer.PEFT)
    for file in PEFT_FILES:
        assert (tmp_path / "peft" / file).read_bytes() == (tmp_path / "theirs" / file).read_bytes()


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")
@pytest.mark.parametrize("name", PLAIN_CASES)
def test_an_imported_adapter_computes_what_peft_computes(name: str, tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base", name, tokenizer=True)
    folder = tmp_path / "theirs"
    save_with_peft(base, block_modules(tmp_path / "base"), torch.float32, folder)
    adapter, _ = read_peft_adapter(folder, read_inventory(tmp_path / "base").config)
    ours = our_logits(tmp_path / "base", adapter.header.lora, dict(adapter.tensors))
    assert_parity(ours, peft_logits(tmp_path / "base", folder), F32_LOGITS)


def saved_by_peft(root: Path, case: str, **settings: Any) -> Path:
    """A random adapter that PEFT saved with settings of its own."""
    base = write_tiny_model(root / "base", case, tokenizer=True)
    # PEFT of a tied base warns that a merge would change both tables.
    model: Any = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **settings))
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(root / "theirs")
    return root / "theirs"


def used_logits(root: Path, folder: Path) -> Tensor:
    """The logits that we compute with a PEFT folder."""
    inventory = read_inventory(root / "base")
    adapter, _ = read_peft_adapter(folder, inventory.config, inventory)
    model = load_base(inventory, torch.float32)
    known = {module.ours: module for module in adapter_modules(inventory.config)}
    modules = [known[module.ours] for module in adapter.header.modules]
    adapted = attach_adapters(model, modules, adapter.header.lora, torch.Generator())
    load_adapter_tensors(adapted, dict(adapter.tensors))
    with torch.no_grad():
        return model.eval().logits(collate_window([EncodedRow(IDS, IDS, 1)]))


def loaded_logits(root: Path, folder: Path | None) -> Tensor:
    """The logits that PEFT computes with a folder it wrote; without one, the base's."""
    model: Any = AutoModelForCausalLM.from_pretrained(root / "base", dtype=torch.float32)
    if folder is not None:
        model = PeftModel.from_pretrained(model, str(folder))
    with torch.no_grad():
        logits: Tensor = model.eval()(torch.tensor([IDS])).logits[0]
    return logits


@pytest.mark.parametrize("rslora", [False, True])
def test_patterns_of_ranks_and_alphas_load_as_in_peft(rslora: bool, tmp_path: Path) -> None:
    folder = saved_by_peft(
        tmp_path,
        "llama",
        r=4,
        lora_alpha=8,
        use_rslora=rslora,
        target_modules=["q_proj", "v_proj", "down_proj"],
        rank_pattern={"layers.0.self_attn.q_proj": 6, r"layers\.1\..*_proj": 2},
        alpha_pattern={"v_proj": 3, "layers.0.mlp.down_proj": 20},
    )
    theirs = loaded_logits(tmp_path, folder)
    assert_parity(used_logits(tmp_path, folder), theirs, F32_LOGITS)
    assert differs(theirs, loaded_logits(tmp_path, None), F32_LOGITS)
    report = import_adapter(
        ImportRequest(source=folder, output=tmp_path / "a.bin", model_dir=tmp_path / "base")
    )
    assert report.rank == 6
    assert any("rank 6" in note for note in report.notes)
    export(tmp_path, Consumer.PEFT)
    assert_parity(loaded_logits(tmp_path, tmp_path / "peft"), theirs, F32_LOGITS)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`")
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize("case", ["llama", "llama_tied"])
def test_a_head_adapter_of_peft_brings_its_table(case: str, tmp_path: Path) -> None:
    folder = saved_by_peft(tmp_path, case, r=4, lora_alpha=8, target_modules=["q_proj", "lm_head"])
    held = load_file(folder / PEFT_FILES[1])
    table = "base_model.model.lm_head.base_layer.weight"
    assert table in held
    assert_parity(used_logits(tmp_path, folder), loaded_logits(tmp_path, folder), F32_LOGITS)
    save_file({**held, table: held[table] + 1}, folder / PEFT_FILES[1], {"format": "pt"})
    with pytest.raises(ArtifactError, match="MENS-H167"):
        used_logits(tmp_path, folder)
    with pytest.raises(ArtifactError, match="MENS-A064"):
        read_peft_adapter(folder, read_inventory(tmp_path / "base").config)


def test_an_adapted_head_travels_too(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "base", "llama")
    spec = LoraSpec(rank=2, alpha=4.0)
    every = adapter_modules(read_inventory(tmp_path / "base").config)
    tensors = write_adapter(tmp_path / "a.bin", tmp_path / "base", spec, every)
    export(tmp_path, Consumer.PEFT)
    model = load_base(read_inventory(tmp_path / "base"), torch.float32)
    load_adapter_tensors(attach_adapters(model, every, spec, torch.Generator()), tensors)
    with torch.no_grad():
        ours = model.eval().logits(collate_window([EncodedRow(IDS, IDS, 1)]))
    assert_parity(ours, peft_logits(tmp_path / "base", tmp_path / "peft"), F32_LOGITS)


def test_an_import_keeps_what_the_file_header_of_version_2_adds(tmp_path: Path) -> None:
    base = write_tiny_model(tmp_path / "base", "llama", tokenizer=True)
    save_with_peft(base, block_modules(tmp_path / "base"), torch.bfloat16, tmp_path / "theirs")
    import_adapter(
        ImportRequest(
            source=tmp_path / "theirs", output=tmp_path / "a.bin", model_dir=tmp_path / "base"
        )
    )
    header = read_adapter_bin(tmp_path / "a.bin").header
    assert header.version == "2"
    assert header.imported is not None
    text = (tmp_path / "theirs" / PEFT_FILES[0]).read_text(encoding="utf-8")
    assert header.imported.adapter_config == text


def export(folder: Path, consumer: Consumer) -> Any:
    return export_adapter(
        ExportRequest(
            source=folder / "a.bin",
            consumer=consumer,
            output_dir=folder / consumer.value,
            model_dir=folder / "base",
        )
    )


def save_with_peft(
    base: Any, modules: list[AdapterModule], dtype: torch.dtype, folder: Path
) -> None:
    """A random adapter as PEFT saves it, B included, in a dtype of its own."""
    config = LoraConfig(
        r=4,
        lora_alpha=10,
        lora_dropout=0.1,
        target_modules=sorted({module.theirs.rpartition(".")[2] for module in modules}),
        task_type="CAUSAL_LM",
    )
    model: Any = get_peft_model(base, config)
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    model.to(dtype).save_pretrained(folder)
