"""Tier A: merged folders against transformers and PEFT, for every family, dtype and layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from tests_integration.tiny_models import VOCAB, write_tiny_model
from tests_integration.tolerances import (
    BF16_MERGED,
    BF16_WEIGHT,
    EXACT,
    F32_MERGED,
    F32_MERGED_WEIGHT,
    Tolerance,
    assert_parity,
    differs,
)
from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.adapters.lora_bin import write_adapter_bin
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.training_text import ChatTemplate
from vox_populi.hf.inventory import ModelInventory, base_digest, read_inventory
from vox_populi.hf.keymap import AdapterModule, ProjectionRole, adapter_modules
from vox_populi.merge.choices import MergeFormat
from vox_populi.merge.merged_file import MERGED_FILE, read_merged_file
from vox_populi.model.hf_load import load_base
from vox_populi.pipeline.merge import (
    MergeReport,
    MergeRequest,
    merge_weights,
)
from vox_tensor.collate import collate_window
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import IGNORE_INDEX, EncodedRow

pytestmark = pytest.mark.requirement("10")

SPEC = LoraSpec(rank=4, alpha=12.0)
SHARD_BYTES = 30_000
CASES = (
    "gpt2",
    "gpt2_untied",
    "llama",
    "llama_tied",
    "mistral",
    "phi3",
    "phi3_longrope_tied",
    "qwen2",
    "qwen2_tied",
    "qwen3",
    "qwen3_tied_biased",
)
IDS = torch.randint(3, VOCAB, (1, 24), generator=torch.Generator().manual_seed(9))


def write_adapter(
    path: Path, base: Path, *, head: bool = False
) -> tuple[AdapterHeader, dict[str, Tensor], list[AdapterModule]]:
    """An adapter on all projections of a folder, with updates that matter."""
    inventory = read_inventory(base)
    modules = [
        module
        for module in adapter_modules(inventory.config)
        if head or ProjectionRole.LM_HEAD not in module.roles
    ]
    header = AdapterHeader(
        lora=SPEC,
        modules=tuple(AdaptedModule.of(module) for module in modules),
        base_name=base.name,
        base_digest=base_digest(inventory),
        model_type=inventory.config.model_type,
        tokenizer=TokenizerKind.HF,
        tokenizer_digest="sha256:11",
        template=ChatTemplate.CHATML,
        template_digest="sha256:22",
        system_prompt=None,
        seq_len=64,
        contract_digest="sha256:33",
        step=5,
    )
    generator = torch.Generator().manual_seed(3)
    tensors = {
        name: 0.1 * torch.randn(shape, generator=generator)
        for name, shape in header.tensor_shapes().items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_adapter_bin(path, header, tensors)
    return header, tensors, modules


def merge(base: Path, adapter: Path, output: Path, **changes: Any) -> MergeReport:
    request = MergeRequest(
        checkpoint=adapter,
        output=output,
        model_dir=base,
        output_format=MergeFormat.HF,
        max_shard_bytes=SHARD_BYTES,
        threads=1,
    )
    return merge_weights(replace(request, **changes))


def peft_model(
    base: Path, modules: list[AdapterModule], tensors: Mapping[str, Tensor], dtype: torch.dtype
) -> Any:
    model = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation="eager")
    config = LoraConfig(
        r=SPEC.rank,
        lora_alpha=int(SPEC.alpha),
        lora_dropout=0.0,
        target_modules=[module.theirs for module in modules],
        fan_in_fan_out=any(module.fan_in_fan_out for module in modules),
        task_type="CAUSAL_LM",
    )
    adapted: Any = get_peft_model(model, config)
    with torch.no_grad():
        for module in modules:
            layer = adapted.base_model.model.get_submodule(module.theirs)
            layer.lora_A["default"].weight.copy_(tensors[f"{module.ours}.lora_A"])
            layer.lora_B["default"].weight.copy_(tensors[f"{module.ours}.lora_B"])
    return adapted.eval()


def load_merged(folder: Path, dtype: torch.dtype) -> Any:
    """Load a folder as anyone would; every key must find its place."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=dtype, attn_implementation="eager", output_loading_info=True
    )
    model, found = loaded
    assert not found["missing_keys"]
    assert not found["unexpected_keys"]
    assert not found["mismatched_keys"]
    return model.eval()


def stored_tensors(folder: Path) -> dict[str, Tensor]:
    stored: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        loaded = load_file(path)
        assert not stored.keys() & loaded.keys()
        stored |= loaded
    return stored


@pytest.mark.parametrize("sharded", [False, True], ids=["single", "sharded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize("name", CASES)
def test_merge_folder_loads_in_transformers_and_computes_what_peft_computes(
    name: str, dtype: torch.dtype, sharded: bool, tmp_path: Path
) -> None:
    base, output = tmp_path / "base", tmp_path / "merged"
    write_tiny_model(base, name, dtype=dtype, sharded=sharded)
    _, tensors, modules = write_adapter(tmp_path / "run" / "model_final.bin", base)

    limit = SHARD_BYTES if sharded else 2**30
    adapter = tmp_path / "run" / "model_final.bin"
    report = merge(base, adapter, output, max_shard_bytes=limit)

    assert (output / "model.safetensors.index.json").exists() == sharded
    assert report.receipt.n_changed == len(modules)
    merged = load_merged(output, torch.float32)
    adapted = peft_model(base, modules, tensors, torch.float32)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    row = F32_MERGED if dtype == torch.float32 else BF16_MERGED
    with torch.no_grad():
        found, expected, before = (model(IDS).logits for model in (merged, adapted, plain))
    assert_parity(found, expected, row)
    assert differs(expected, before, row), "the adapter must change something"

    assert_weights_match_peft(base, output, modules, tensors, dtype)


def assert_weights_match_peft(
    base: Path,
    output: Path,
    modules: list[AdapterModule],
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype,
) -> None:
    """Changed weights equal `merge_and_unload`'s, all others the base's bytes."""
    unloaded = peft_model(base, modules, tensors, dtype).merge_and_unload().state_dict()
    before, after = stored_tensors(base), stored_tensors(output)
    changed = {f"{module.theirs}.weight" for module in modules}
    row: Tolerance = F32_MERGED_WEIGHT if dtype == torch.float32 else BF16_WEIGHT
    assert after.keys() == before.keys()
    for key, tensor in after.items():
        assert tensor.dtype == dtype
        if key in changed:
            assert_parity(tensor, unloaded[key], row)
            assert not torch.equal(tensor, before[key])
        else:
            assert_parity(tensor, before[key], EXACT)


@pytest.mark.parametrize("name", ["gpt2", "qwen3_tied_biased", "llama"])
def test_merge_of_an_adapted_head_unties_it_in_so_many_words(name: str, tmp_path: Path) -> None:
    base, output = tmp_path / "base", tmp_path / "merged"
    write_tiny_model(base, name)
    adapter = tmp_path / "run" / "model_final.bin"
    _, tensors, modules = write_adapter(adapter, base, head=True)

    report = merge(base, adapter, output)

    assert not report.receipt.is_head_tied
    merged = load_merged(output, torch.float32)
    assert merged.config.tie_word_embeddings is False
    embedding = merged.get_input_embeddings().weight
    assert not torch.equal(merged.lm_head.weight, embedding)
    untied = read_inventory(output)
    assert not untied.tied_head
    model = load_base(untied, torch.float32)
    rows = [EncodedRow(tuple(IDS[0].tolist()), (IGNORE_INDEX,) * IDS.shape[1])]
    with torch.no_grad():
        expected = peft_adapted_logits(base, modules, tensors)
        assert_parity(merged(IDS).logits[0], expected, F32_MERGED)
        assert_parity(model.logits(collate_window(rows)), expected, F32_MERGED)


def peft_adapted_logits(
    base: Path, modules: list[AdapterModule], tensors: Mapping[str, Tensor]
) -> Tensor:
    """Base and adapter without PEFT's rules about tied heads: `W x + s B A x` by hooks."""
    model: Any = AutoModelForCausalLM.from_pretrained(
        base, dtype=torch.float32, attn_implementation="eager"
    )
    for module in modules:
        a, b = tensors[f"{module.ours}.lora_A"], tensors[f"{module.ours}.lora_B"]

        def add(_layer: Any, given: Any, out: Tensor, a: Tensor = a, b: Tensor = b) -> Tensor:
            added: Tensor = out + SPEC.scale * (given[0] @ a.T) @ b.T
            return added

        model.get_submodule(module.theirs).register_forward_hook(add)
    logits: Tensor = model.eval()(IDS).logits[0]
    return logits


@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3_tied_biased"])
def test_merge_to_one_file_of_ours_computes_the_same_as_the_folder(
    name: str, tmp_path: Path
) -> None:
    base = tmp_path / "base"
    write_tiny_model(base, name, dtype=torch.bfloat16)
    adapter = tmp_path / "run" / "model_final.bin"
    write_adapter(adapter, base)
    merge(base, adapter, tmp_path / "hf")
    merge(base, adapter, tmp_path / "vox", output_format=MergeFormat.VOX)
    ours = read_merged_file(tmp_path / "vox" / MERGED_FILE).inventory
    assert logits_of(ours).equal(logits_of(read_inventory(tmp_path / "hf")))
    assert not logits_of(ours).equal(logits_of(read_inventory(base)))


@torch.no_grad()
def logits_of(inventory: ModelInventory) -> Tensor:
    rows = [EncodedRow(tuple(IDS[0].tolist()), (IGNORE_INDEX,) * IDS.shape[1])]
    return load_base(inventory, torch.float32).logits(collate_window(rows))


def test_merge_is_the_same_bytes_for_every_shard_layout_and_thread_count(tmp_path: Path) -> None:
    weights: list[dict[str, bytes]] = []
    for number, (sharded, threads) in enumerate(((False, 1), (True, 2), (True, 1), (True, 1))):
        base, output = tmp_path / f"base-{number}" / "base", tmp_path / f"merged-{number}"
        write_tiny_model(base, "qwen2", dtype=torch.bfloat16, sharded=sharded)
        adapter = tmp_path / f"run-{number}" / "model_final.bin"
        write_adapter(adapter, base)
        merge(base, adapter, output, threads=threads)
        weights.append({path.name: path.read_bytes() for path in output.iterdir()})
    # Only the receipt and the card name the base's files, which differ.
    names = [name for name in weights[0] if name.startswith("model")]
    assert len(names) > 2
    assert all(each[name] == weights[0][name] for each in weights for name in names)
    assert weights[1] == weights[2] == weights[3], "the receipt too is the same for one layout"
