"""Tier A: mixtures of experts against transformers and PEFT: folders, loss and gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests_integration.tier_a.test_peft_interop import (
    IDS,
    block_modules,
    our_logits,
    write_adapter,
)
from tests_integration.tiny_mixtures import MIXTURES
from tests_integration.tiny_models import (
    VOCAB,
    build_tiny_model,
    write_tiny_model,
    write_tiny_tokenizer,
)
from tests_integration.tolerances import (
    F32_GRAD,
    F32_LOGITS,
    F32_LOSS_SUM,
    assert_parity,
    differs,
)
from vox_populi.containers.tensor_reader import read_tensor
from vox_populi.export.consumers import Consumer
from vox_populi.export.mobile_formats import MobileFormat
from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.keymap import adapter_modules
from vox_populi.merge.choices import MergeFormat
from vox_populi.merge.number_type import MergeDtype
from vox_populi.model.hf_load import load_base
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.pipeline.export import ExportRequest
from vox_populi.pipeline.export_mobile import MobileRequest, export_mobile
from vox_populi.pipeline.export_run import export_adapter
from vox_populi.pipeline.gguf import GgufRequest, export_gguf
from vox_populi.pipeline.merge import MergeRequest, merge_weights
from vox_populi.pipeline.quantize import QuantizeRequest, quantize_model
from vox_tensor.collate import collate_window
from vox_tensor.errors import VoxError
from vox_tensor.lora import LoraLinear
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import IGNORE_INDEX, EncodedRow

SPEC = LoraSpec(rank=3, alpha=12.0)
HALVES = ("gate", "up")


def write_fused(folder: Path, name: str) -> Any:
    """A folder whose layers have all experts in two tensors, as transformers 5 holds them."""
    model: Any = build_tiny_model(name)
    model.save_pretrained(folder, save_original_format=False, max_shard_size="30KB")
    return model


@pytest.mark.parametrize("name", [*MIXTURES, "qwen3_moe_sparse_step"])
def test_both_forms_of_a_folder_are_the_same_tensors(name: str, tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "each", name)
    model = write_fused(tmp_path / "fused", name)
    each, fused = read_inventory(tmp_path / "each"), read_inventory(tmp_path / "fused")
    assert {key: info.shape for key, info in fused.tensors.items()} == {
        key: info.shape for key, info in each.tensors.items()
    }
    assert len(fused.shards) > 1
    names = {info.name.partition(":")[0] for info in fused.tensors.values()}
    assert any(name.endswith("experts.gate_up_proj") for name in names)
    assert each.total_bytes == fused.total_bytes == 4 * sum(p.numel() for p in model.parameters())
    for key, info in each.tensors.items():
        other = fused.tensors[key]
        with safe_open(tmp_path / "each" / info.shard, framework="pt") as file:
            stored = file.get_tensor(info.name)
        assert torch.equal(read_tensor(tmp_path / "fused" / other.shard, other), stored), key


def draw_rows() -> list[EncodedRow]:
    generator = torch.Generator().manual_seed(4)
    rows = []
    for line, length in enumerate((31, 3), start=1):
        ids = tuple(torch.randint(3, VOCAB, (length,), generator=generator).tolist())
        rows.append(EncodedRow(ids, (IGNORE_INDEX,) * 2 + ids[2:], line))
    return rows


def wrapped(model: Any) -> dict[tuple[str, str], Any]:
    """PEFT's adapters of tensors with all experts: by layer, and name of the tensor."""
    return {
        (name.split(".layers.")[1].partition(".")[0], module.parameter_name): module
        for name, module in model.named_modules()
        if hasattr(module, "parameter_name")
    }


def peft_parts(tensor_a: Tensor, tensor_b: Tensor, n_parts: int) -> dict[tuple[int, int], Any]:
    """A and B of every expert and half in PEFT's layout `[E n R, I]`, `[n O, (n R) E]`."""
    n_rows, rank = tensor_b.shape[0] // n_parts, SPEC.rank
    n_experts = tensor_a.shape[0] // (n_parts * rank)
    a_ERI = tensor_a.reshape(n_experts, n_parts * rank, -1)
    b_ORE = tensor_b.reshape(tensor_b.shape[0], n_parts * rank, n_experts)
    return {
        (expert, part): (
            a_ERI[expert, part * rank : (part + 1) * rank],
            b_ORE[part * n_rows : (part + 1) * n_rows, part * rank : (part + 1) * rank, expert],
        )
        for expert in range(n_experts)
        for part in range(n_parts)
    }


def parts_of(model: Any, *, grads: bool) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B, or their gradients, by our module names."""
    found = {}
    for (layer, parameter), module in wrapped(model).items():
        names = HALVES if parameter == "gate_up_proj" else ("down",)
        weights = (module.lora_A["default"].weight, module.lora_B["default"].weight)
        a, b = (w.grad if grads else w.data for w in weights)
        for (expert, part), both in peft_parts(a, b, len(names)).items():
            found[f"blocks.{layer}.mlp.experts.{expert}.{names[part]}"] = both
    return found


def peft_model(base: Any, adapted: dict[str, LoraLinear]) -> Any:
    config = LoraConfig(
        r=SPEC.rank,
        lora_alpha=int(SPEC.alpha),
        target_parameters=["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
        rank_pattern={r".*\.gate_up_proj": 2 * SPEC.rank},
        alpha_pattern={r".*\.gate_up_proj": int(2 * SPEC.alpha)},
    )
    model: Any = get_peft_model(base, config)
    with torch.no_grad():
        for module in wrapped(model).values():
            module.lora_B["default"].weight.zero_()
        for name, (a_RI, b_OR) in parts_of(model, grads=False).items():
            a_RI.copy_(adapted[name].a_RI)
            b_OR.copy_(adapted[name].b_OR)
    return model


# PEFT looks for the patterns among modules, and applies them to tensors all the same.
@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys")
@pytest.mark.parametrize("name", [*MIXTURES, "qwen3_moe_sparse_step"])
def test_adapters_of_experts_have_the_loss_and_gradients_of_peft(name: str, tmp_path: Path) -> None:
    base = write_fused(tmp_path, name)
    inventory = read_inventory(tmp_path)
    modules = [module for module in adapter_modules(inventory.config) if module.in_expert]
    ours = load_base(inventory, torch.float32)
    generator = torch.Generator().manual_seed(5)
    adapted = attach_adapters(ours, modules, SPEC, generator)
    with torch.no_grad():
        for layer in adapted.values():
            layer.b_OR.normal_(std=0.05, generator=generator)
    theirs = peft_model(base, adapted)
    rows = draw_rows()

    loss = ours.loss_sum(collate_window(rows))
    loss.backward()
    expected = sum(
        theirs(torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss * row.n_supervised
        for row in rows
    )
    assert isinstance(expected, Tensor)
    expected.backward()

    assert_parity(loss.detach(), expected.detach(), F32_LOSS_SUM)
    gradients = parts_of(theirs, grads=True)
    assert gradients.keys() == adapted.keys()
    for module, (grad_a, grad_b) in gradients.items():
        mine = adapted[module]
        for own, other in ((mine.a_RI, grad_a), (mine.b_OR, grad_b)):
            assert own.grad is not None
            assert_parity(own.grad, other, F32_GRAD)
    first = next(iter(adapted.values()))
    assert first.a_RI.grad is not None
    assert differs(first.a_RI.grad, torch.zeros_like(first.a_RI), F32_GRAD)
    assert not any("router" in name for name, p in ours.named_parameters() if p.grad is not None)


def stored_forms(folder: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of every tensor of a folder, by name."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - a file of tensors is no mapping
                entry = file.get_slice(key)
                found[key] = (entry.get_dtype(), tuple(entry.get_shape()))
    return found


@pytest.mark.parametrize("is_fused", [False, True], ids=["each", "fused"])
@pytest.mark.parametrize("name", MIXTURES)
def test_a_merged_mixture_is_base_and_adapter_in_transformers(
    name: str, is_fused: bool, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    (write_fused if is_fused else write_tiny_model)(base, name)
    write_tiny_tokenizer(base)
    spec = LoraSpec(rank=3, alpha=7.5)
    tensors = write_adapter(tmp_path / "run.bin", base, spec, block_modules(base))
    merge_weights(
        MergeRequest(
            checkpoint=tmp_path / "run.bin",
            output=tmp_path / "merged",
            model_dir=base,
            output_format=MergeFormat.HF,
        )
    )
    ours = our_logits(base, spec, tensors)
    bare = our_logits(base, spec, {key: 0 * tensor for key, tensor in tensors.items()})
    merged: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    with torch.no_grad():
        theirs = merged.eval()(torch.tensor([IDS])).logits[0]
    assert differs(ours, bare, F32_LOGITS), "the adapter must change something"
    assert_parity(ours, theirs, F32_LOGITS)
    before, after = stored_forms(base), stored_forms(tmp_path / "merged")
    assert after == before, "experts stay in the tensors, types and shapes that they had"
    assert is_fused == any(key.endswith(".gate_up_proj") for key in after)


def test_other_number_types_of_a_fused_mixture_are_merged_too(tmp_path: Path) -> None:
    base = tmp_path / "base"
    write_fused(base, "qwen3_moe")
    spec = LoraSpec(rank=3, alpha=7.5)
    write_adapter(tmp_path / "run.bin", base, spec, block_modules(base))
    request = MergeRequest(
        checkpoint=tmp_path / "run.bin",
        output=tmp_path / "merged",
        model_dir=base,
        output_format=MergeFormat.HF,
        dtype=MergeDtype.BF16,
    )
    merge_weights(request)
    before, after = stored_forms(base), stored_forms(tmp_path / "merged")
    assert after == {key: ("BF16", shape) for key, (_, shape) in before.items()}


@pytest.mark.parametrize("name", MIXTURES)
def test_what_has_no_form_for_experts_is_refused_by_name(name: str, tmp_path: Path) -> None:
    base, output = tmp_path / "base", tmp_path / "output"
    write_tiny_model(base, name, tokenizer=True)
    mobile = MobileRequest(source=base, output_dir=output, target=MobileFormat.ONNX, seq_len=8)
    refused: dict[str, Callable[[], object]] = {
        "MENS-H013": lambda: quantize_model(QuantizeRequest(model_dir=base, output=output)),
        "MENS-A076": lambda: export_gguf(GgufRequest(source=base, output=output)),
        "MENS-A563": lambda: export_mobile(mobile),
    }
    for code, act in refused.items():
        with pytest.raises(VoxError) as caught:
            act()
        assert code in {problem.code for problem in caught.value.problems}
        assert not output.exists()


@pytest.mark.filterwarnings("ignore:The following (rank|alpha)_pattern keys")
@pytest.mark.parametrize("rslora", [False, True])
@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe_every_expert"])
def test_peft_loads_adapters_of_experts_and_computes_the_same(
    name: str, rslora: bool, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    write_tiny_model(base, name)
    spec = LoraSpec(rank=3, alpha=7.5, dropout=0.05, use_rslora=rslora)
    tensors = write_adapter(tmp_path / "a.bin", base, spec, block_modules(base))
    request = ExportRequest(
        source=tmp_path / "a.bin",
        output_dir=tmp_path / "peft",
        consumer=Consumer.PEFT,
        model_dir=base,
        keep_base_text=True,
    )
    assert bool(export_adapter(request).rescaled) == rslora
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    loaded: Any = PeftModel.from_pretrained(model, str(tmp_path / "peft"))
    experts = read_inventory(base).config.experts
    assert experts is not None
    assert len(wrapped(loaded)) == 2 * sum(experts.layers)
    with torch.no_grad():
        theirs = loaded.eval()(torch.tensor([IDS])).logits[0]
    ours = our_logits(base, spec, tensors)
    bare = our_logits(base, spec, {key: 0 * tensor for key, tensor in tensors.items()})
    assert differs(ours, bare, F32_LOGITS), "the adapter must change something"
    assert_parity(ours, theirs, F32_LOGITS)
