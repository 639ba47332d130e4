"""Weights that stay in their files compute what weights in memory compute."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from packages.vox_populi.tests.qlora_adapters import QUANTIZATION, qlora_header, qlora_tensors
from vox_populi.adapters.adapter import Adapter
from vox_populi.containers.safetensors_header import read_header
from vox_populi.contract.choices import GraphId
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.keymap import adapter_modules, tensor_keys
from vox_populi.hf.model_config import parse_model_config
from vox_populi.merge import streamed_model
from vox_populi.merge.full_graph import LowRankUpdate, merged_graph
from vox_populi.merge.rounded_weight import TrainedBase, trained_base, with_table_as_head
from vox_populi.merge.streamed_model import (
    MergedRows,
    StoredRows,
    StreamedWeight,
    planned_model,
    stored_model,
    trained_model,
)
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.hf_load import load_base
from vox_tensor.collate import collate_window
from vox_tensor.nf4 import dequantize_nf4, quantize_nf4
from vox_tensor.records import IGNORE_INDEX, EncodedRow


@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize("block", [1, 12, 1000])
def test_merge_check_streams_a_linear_layer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_transposed: bool, block: int
) -> None:
    monkeypatch.setattr(streamed_model, "BLOCK_VALUES", block)
    generator = torch.Generator().manual_seed(0)
    dense_OI = torch.randn(7, 6, generator=generator).bfloat16()
    stored = dense_OI.t().contiguous() if is_transposed else dense_OI
    save_file({"w": stored}, tmp_path / "m.safetensors")
    info = read_header(tmp_path / "m.safetensors").tensors["w"]
    weight = StreamedWeight(StoredRows(tmp_path, info), is_transposed=is_transposed)
    x, bias = torch.randn(3, 6, generator=generator), torch.randn(7, generator=generator)

    for b in (None, bias):
        found = weight.linear(x, b)
        expected = F.linear(x.double(), dense_OI.double(), None if b is None else b.double())
        torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)


def test_merge_check_reads_only_the_rows_of_a_table_that_are_asked_for(tmp_path: Path) -> None:
    table = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    save_file({"w": table}, tmp_path / "m.safetensors")
    info = read_header(tmp_path / "m.safetensors").tensors["w"]
    ids = torch.tensor([8, 0, 8])
    # Torch hands it over.
    found = F.embedding(ids, StreamedWeight(StoredRows(tmp_path, info)))  # type: ignore[arg-type]
    assert torch.equal(found, table[ids])


def test_merge_check_knows_no_other_operation(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2, 2)}, tmp_path / "m.safetensors")
    info = read_header(tmp_path / "m.safetensors").tensors["w"]
    with pytest.raises(TypeError):
        # Torch hands it over.
        torch.matmul(torch.ones(2, 2), StreamedWeight(StoredRows(tmp_path, info)))  # type: ignore[arg-type]


LLAMA = {
    "model_type": "llama",
    "vocab_size": 24,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 12,
    "max_position_embeddings": 16,
    "tie_word_embeddings": False,
}
GPT2 = {
    "model_type": "gpt2",
    "vocab_size": 24,
    "n_embd": 8,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 16,
}
BASES = {"llama": LLAMA, "gpt2": GPT2}


def write_base(folder: Path, raw: dict[str, object], dtype: torch.dtype) -> ModelInventory:
    """A folder with random weights; a tied head is not stored."""
    generator = torch.Generator().manual_seed(0)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(raw), encoding="utf-8")
    keys = tensor_keys(parse_model_config(raw, "test"))
    save_file(
        {k.theirs: torch.randn(k.shape, generator=generator).to(dtype) for k in keys if k.required},
        folder / "model.safetensors",
    )
    return read_inventory(folder)


@torch.no_grad()
def logits(model: CausalGraph) -> Tensor:
    ids = (1, 7, 23, 0, 11)
    return model.logits(collate_window([EncodedRow(ids, (IGNORE_INDEX,) * len(ids))]))


def dense_model(inventory: ModelInventory, rounded: frozenset[str]) -> CausalGraph:
    """The same model in memory, with some weights rounded."""
    model = load_base(inventory, torch.float32)
    for name in rounded:
        weight = model.get_parameter(name)
        packed = quantize_nf4(
            weight,
            block_size=QUANTIZATION.nf4.block_size,
            double_quant=QUANTIZATION.nf4.double_quant,
        )
        with torch.no_grad():
            weight.copy_(dequantize_nf4(packed))
    return model


def trained(inventory: ModelInventory) -> TrainedBase:
    header = qlora_header(inventory.model_dir)
    known = {module.ours: module for module in adapter_modules(inventory.config)}
    modules = [known[module.ours] for module in header.modules]
    return trained_base(inventory, header, QUANTIZATION, modules)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", BASES)
def test_merge_check_runs_a_model_from_its_files(
    tmp_path: Path, name: str, dtype: torch.dtype
) -> None:
    inventory = write_base(tmp_path / "base", BASES[name], dtype)
    found = logits(stored_model(inventory))
    torch.testing.assert_close(found, logits(load_base(inventory, torch.float32)))


@pytest.mark.parametrize("name", BASES)
def test_merge_check_runs_a_model_as_training_saw_it(tmp_path: Path, name: str) -> None:
    inventory = write_base(tmp_path / "base", BASES[name], torch.float32)
    base = trained(inventory)
    assert len(base.rounded) == {"llama": 14, "gpt2": 8}[name]
    found = logits(trained_model(base))
    torch.testing.assert_close(found, logits(dense_model(inventory, base.rounded)))
    assert (found - logits(stored_model(inventory))).abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("is_rounded", [False, True])
def test_merge_check_runs_what_would_be_written(
    tmp_path: Path, name: str, dtype: torch.dtype, is_rounded: bool
) -> None:
    inventory = write_base(tmp_path / "base", BASES[name], dtype)
    header = qlora_header(inventory.model_dir, head=True)
    tensors = qlora_tensors(header)
    known = {module.ours: module for module in adapter_modules(inventory.config)}
    modules = tuple(known[module.ours] for module in header.modules)
    base = trained(inventory)
    graph = merged_graph(inventory, Adapter(header, tensors), modules, base if is_rounded else None)
    model = dense_model(inventory, base.rounded if is_rounded else frozenset())
    if inventory.tied_head:
        model.layer("lm_head").weight = torch.nn.Parameter(model.layer("embed").weight.clone())
    for module in header.modules:
        weight = model.get_parameter(f"{module.ours}.weight")
        delta = header.lora.scale * (
            tensors[f"{module.ours}.lora_B"] @ tensors[f"{module.ours}.lora_A"]
        )
        with torch.no_grad():
            weight.copy_((weight + delta).to(dtype).float())
    found = logits(planned_model(inventory, graph))
    # A sum may fall on the other side of a rounding border of bf16.
    allowed = None if dtype == torch.float32 else 0.02
    torch.testing.assert_close(found, logits(model), rtol=allowed, atol=allowed)
    assert (found - logits(stored_model(inventory))).abs().max() > 0.1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_merge_check_rounds_the_sum_and_never_the_update(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    """Half a unit and a little: the sum rounds up, the update alone would lose the little."""
    half_unit = torch.finfo(dtype).eps / 2
    save_file({"w": torch.ones(3, 5, dtype=dtype)}, tmp_path / "m.safetensors")
    stored = StoredRows(tmp_path, read_header(tmp_path / "m.safetensors").tensors["w"])
    # Sums of two powers of two, so no processor rounds before we do.
    b_OR = torch.tensor([half_unit, half_unit * 2**-12]).expand(3, 2)
    update = LowRankUpdate(torch.ones(2, 5), b_OR, 1.0, is_transposed=False)
    rows = MergedRows(stored, update, dtype)
    assert torch.equal(torch.cat(list(rows.blocks(2))), torch.full((3, 5), 1 + 2 * half_unit))
    assert torch.equal(rows.row(1), torch.full((1, 5), 1 + 2 * half_unit))


def test_merge_check_takes_the_table_for_the_head_of_a_proxy(tmp_path: Path) -> None:
    inventory = write_base(tmp_path / "base", LLAMA, torch.float32)
    model = load_base(inventory, torch.float32)
    own = logits(stored_model(inventory))
    torch.testing.assert_close(own, logits(model))
    model.layer("lm_head").weight = model.layer("embed").weight
    tied = with_table_as_head(inventory)
    found = logits(stored_model(tied))
    torch.testing.assert_close(found, logits(model))
    assert (found - own).abs().max() > 0.1
    header = qlora_header(inventory.model_dir, GraphId.PROXY_STACK)
    known = {module.ours: module for module in adapter_modules(inventory.config)}
    base = trained_base(tied, header, QUANTIZATION, [known[m.ours] for m in header.modules])
    rounded = dense_model(inventory, frozenset({"embed.weight"})).layer("embed").weight
    head = next(key for key in tensor_keys(inventory.config) if key.ours == "lm_head.weight")
    weight = base.weight(head)
    assert weight is not None
    assert torch.equal(weight.values_NI(), rounded)


def test_merge_check_computes_the_same_on_any_number_of_threads(tmp_path: Path) -> None:
    inventory = write_base(tmp_path / "base", GPT2, torch.bfloat16)
    base = trained(inventory)
    alone = logits(trained_model(base))
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(logits, trained_model(base)) for _ in range(4)]
        assert all(torch.equal(job.result(), alone) for job in jobs)
