"""Tier A: GGUF files against two readers that are not ours: transformers, and plain arithmetic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from tests_integration.tiny_models import (
    GGUF_CASES,
    GGUF_CASES_UNREAD,
    SHORT_CONTEXT,
    VOCAB,
    write_tiny_model,
    write_tiny_tokenizer,
)
from tests_integration.tiny_nested import write_nested
from tests_integration.tolerances import F16_WEIGHT, F32_LOGITS, F32_MERGED, assert_parity, differs
from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.adapters.lora_bin import write_adapter_bin
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.training_text import ChatTemplate
from vox_populi.errors import ArtifactError
from vox_populi.export.consumers import Consumer, GgufType, GgufTypeChoice
from vox_populi.export.gguf.model import BLOCK
from vox_populi.hf.inventory import base_digest, read_inventory
from vox_populi.hf.keymap import ProjectionRole, adapter_modules
from vox_populi.pipeline.export import ExportRequest
from vox_populi.pipeline.export_run import export_adapter
from vox_populi.pipeline.gguf import GgufRequest
from vox_populi.pipeline.gguf_run import export_gguf
from vox_tensor.lora_spec import LoraSpec

gguf = pytest.importorskip("gguf", reason="needs vox-populi[gguf]")

CASES = (
    "gpt2",
    "gpt2_untied",
    "llama",
    "llama_tied",
    "llama_biased",
    "mistral_no_window",
    "phi3",
    "phi3_longrope_tied",
    "qwen2",
    "qwen2_tied",
    "qwen3",
)
SPEC = LoraSpec(rank=4, alpha=6.0, use_rslora=True)


def as_gguf(folder: Path, kind: GgufType = GgufType.F32) -> Path:
    output = folder.with_suffix(f".{kind}.gguf")
    report = export_gguf(GgufRequest(source=folder, output=output, kind=GgufTypeChoice(kind)))
    assert report.pre_tokenizer == "gpt-2"
    return output


def tensors_of(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file as float32, by the package's own reader."""
    return {
        tensor.name: torch.from_numpy(
            gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy()
        ).float()
        for tensor in gguf.GGUFReader(path).tensors
    }


def logits_of(model: Any) -> Tensor:
    ids = torch.randint(3, VOCAB, (1, 19), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        logits: Tensor = model(ids).logits[0]
    return logits


@pytest.mark.parametrize("name", CASES)
def test_transformers_reads_the_model_back(name: str, tmp_path: Path) -> None:
    original = write_tiny_model(tmp_path / "m", name, tokenizer=True, sharded=True)
    path = as_gguf(tmp_path / "m")
    # transformers does not take every setting from the file, so it gets the config; but a file of
    # a Mistral is one of a Llama to it, whose defaults fit.
    is_mistral = name.startswith("mistral")
    config = None if is_mistral else AutoConfig.from_pretrained(tmp_path / "m")
    again: Any = AutoModelForCausalLM.from_pretrained(
        tmp_path, gguf_file=path.name, config=config, dtype=torch.float32
    )
    assert_parity(logits_of(again.eval()), logits_of(original), F32_LOGITS)


@pytest.mark.parametrize(("name", "text"), [("mistral3", "ministral3"), ("llava", "llama_tied")])
def test_a_text_model_within_another_is_written_as_if_it_were_alone(
    name: str, text: str, tmp_path: Path
) -> None:
    whole = write_nested(tmp_path / "whole", name, text=text)
    write_tiny_tokenizer(tmp_path / "whole")
    alone: Any = write_tiny_model(tmp_path / "alone", text, tokenizer=True)
    alone.model.load_state_dict(whole.model.language_model.state_dict())
    alone.lm_head.load_state_dict(whole.lm_head.state_dict())
    alone.save_pretrained(tmp_path / "alone")
    files = [as_gguf(tmp_path / each) for each in ("whole", "alone")]
    found, expected = map(tensors_of, files)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    settings = [set(gguf.GGUFReader(path).fields) for path in files]
    assert settings[0] == settings[1]


@pytest.mark.parametrize("name", [*GGUF_CASES, *GGUF_CASES_UNREAD])
def test_f16_and_q8_0_are_the_f32_file_rounded(name: str, tmp_path: Path) -> None:
    name = name.replace("mistral", "mistral_no_window")
    write_tiny_model(tmp_path / "m", name, tokenizer=True)
    exact = tensors_of(as_gguf(tmp_path / "m"))
    halves = tensors_of(as_gguf(tmp_path / "m", GgufType.F16))
    blocks = tensors_of(as_gguf(tmp_path / "m", GgufType.Q8_0))
    assert exact.keys() == halves.keys() == blocks.keys()
    n_quantised = 0
    for key, tensor in exact.items():
        assert_parity(halves[key], tensor, F16_WEIGHT)
        if tensor.dim() == 1 or key == "position_embd.weight":
            assert torch.equal(blocks[key], tensor)
        elif tensor.shape[-1] % BLOCK == 0:
            n_quantised += 1
            largest = tensor.reshape(-1, BLOCK).abs().amax(dim=1, keepdim=True)
            error = (blocks[key] - tensor).reshape(-1, BLOCK).abs()
            # Half a step of 1/127 of the largest value, and the f16 rounding of the step.
            assert bool((error <= largest * (0.5 / 127 + 2**-11)).all())
            assert bool((error > 0).any())
    assert n_quantised > 0


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")
@pytest.mark.parametrize("name", [*GGUF_CASES, *GGUF_CASES_UNREAD])
def test_base_plus_adapter_is_the_merged_model(name: str, tmp_path: Path) -> None:
    """Both files put rows and columns in the same places, and the scale is the trained one."""
    name = name.replace("mistral", "mistral_no_window")
    base = write_tiny_model(tmp_path / "base", name, tokenizer=True)
    write_adapter(tmp_path / "a.bin", tmp_path / "base")
    for consumer in (Consumer.PEFT, Consumer.GGUF):
        export_adapter(
            ExportRequest(
                source=tmp_path / "a.bin",
                consumer=consumer,
                output_dir=tmp_path / consumer.value,
                model_dir=tmp_path / "base",
            )
        )
    merged: Any = PeftModel.from_pretrained(base, str(tmp_path / "peft")).merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "merged" / file).write_bytes((tmp_path / "base" / file).read_bytes())

    adapter = tensors_of(tmp_path / "gguf" / "adapter.gguf")
    reader = gguf.GGUFReader(tmp_path / "gguf" / "adapter.gguf")
    alpha = reader.get_field("adapter.lora.alpha").contents()
    before, after = tensors_of(as_gguf(tmp_path / "base")), tensors_of(as_gguf(tmp_path / "merged"))
    adapted = {key.removesuffix(".lora_a") for key in adapter if key.endswith(".lora_a")}
    assert len(adapted) == len(adapter) // 2
    assert adapted <= before.keys()
    for key, tensor in before.items():
        if key not in adapted:
            assert torch.equal(after[key], tensor)
            continue
        a, b = adapter[f"{key}.lora_a"], adapter[f"{key}.lora_b"]
        assert differs(after[key], tensor, F32_MERGED)
        assert_parity(tensor + alpha / a.shape[0] * (b @ a), after[key], F32_MERGED)


def test_llama3_scaling_becomes_factors(tmp_path: Path) -> None:
    original = write_tiny_model(tmp_path / "m", "llama_llama3", tokenizer=True)
    factors = tensors_of(as_gguf(tmp_path / "m"))["rope_freqs.weight"]
    rotary: Any = original.model.rotary_emb
    settings = original.config.rope_parameters
    dim = 2 * factors.numel()
    plain = settings["rope_theta"] ** (-torch.arange(0, dim, 2) / dim)
    assert differs(factors, torch.ones_like(factors), F32_LOGITS)
    assert_parity(plain / factors, rotary.inv_freq.float(), F32_LOGITS)


def test_longrope_becomes_two_lists_and_a_factor(tmp_path: Path) -> None:
    original = write_tiny_model(tmp_path / "m", "phi3_longrope", tokenizer=True)
    path = as_gguf(tmp_path / "m")
    reader, stored = gguf.GGUFReader(path), tensors_of(path)
    settings, rotary = original.config.rope_parameters, original.model.rotary_emb
    for name in ("long", "short"):
        assert stored[f"rope_factors_{name}.weight"].tolist() == pytest.approx(
            settings[f"{name}_factor"]
        )
    fields = {
        "rope.scaling.attn_factor": rotary.attention_scaling,
        "rope.scaling.original_context_length": SHORT_CONTEXT,
        "rope.dimension_count": 6,
        # Beyond it llama.cpp takes the long list for short texts too.
        "context_length": SHORT_CONTEXT,
    }
    for field, value in fields.items():
        assert reader.get_field(f"phi3.{field}").contents() == pytest.approx(value), field


def test_factors_are_in_the_file(tmp_path: Path) -> None:
    config = write_tiny_model(tmp_path / "m", "granite", tokenizer=True).config
    reader = gguf.GGUFReader(as_gguf(tmp_path / "m"))
    fields = {
        "embedding_scale": config.embedding_multiplier,
        "attention.scale": config.attention_multiplier,
        "residual_scale": config.residual_multiplier,
        "logit_scale": config.logits_scaling,
    }
    for field, value in fields.items():
        assert reader.get_field(f"granite.{field}").contents() == pytest.approx(value), field


@pytest.mark.parametrize("name", ["mistral", "qwen2_sliding"])
def test_a_sliding_window_is_the_context(name: str, tmp_path: Path) -> None:
    config = write_tiny_model(tmp_path / "m", name, tokenizer=True).config
    family = "llama" if name == "mistral" else "qwen2"
    field = gguf.GGUFReader(as_gguf(tmp_path / "m")).get_field(f"{family}.context_length")
    assert field.contents() == config.sliding_window < config.max_position_embeddings


@pytest.mark.parametrize(
    "name",
    [
        "gpt2_exact_gelu",
        "llama_yarn",
        "ministral3_sliding",
        "phi3_wide_heads",
        "qwen3_tied_biased",
        "smollm3",
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(name: str, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "m", name, tokenizer=True)
    with pytest.raises(ArtifactError) as caught:
        as_gguf(tmp_path / "m")
    assert caught.value.problems[0].code == "MENS-A076"
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]


def test_a_tokenizer_without_a_name_is_refused(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "m", "llama", tokenizer=True)
    path = tmp_path / "m" / "tokenizer.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(raw | {"pre_tokenizer": {"type": "Whitespace"}}), encoding="utf-8")
    with pytest.raises(ArtifactError) as caught:
        as_gguf(tmp_path / "m")
    assert caught.value.problems[0].code == "MENS-A076"


def write_adapter(path: Path, base: Path) -> None:
    inventory = read_inventory(base)
    modules = [
        module
        for module in adapter_modules(inventory.config)
        if ProjectionRole.LM_HEAD not in module.roles
    ]
    header = AdapterHeader(
        lora=SPEC,
        modules=tuple(AdaptedModule.of(module) for module in modules),
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
    shapes = header.tensor_shapes()
    tensors = {key: 0.1 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    write_adapter_bin(path, header, tensors)
