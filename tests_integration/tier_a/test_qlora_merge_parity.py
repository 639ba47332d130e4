"""Tier A: merges of QLoRA adapters against our own QLoRA graph and transformers, per family."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

from packages.vox_populi.tests.qlora_adapters import QUANTIZATION, write_own
from tests_integration.tiny_models import VOCAB, write_tiny_model
from tests_integration.tolerances import (
    BF16_MERGED,
    BF16_WEIGHT,
    EXACT,
    F32_LOGITS,
    F32_MERGED,
    F32_MERGED_WEIGHT,
    Tolerance,
    assert_close_number,
    assert_parity,
    differs,
)
from vox_populi.adapters.header import (
    AdapterHeader,
)
from vox_populi.contract.choices import GraphId
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.keymap import AdapterModule, adapter_modules
from vox_populi.merge.choices import Onto
from vox_populi.merge.subset import SUBSET_FILE
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.lora_transformer import attach_adapters, load_adapter_tensors
from vox_populi.model.nf4_load import load_nf4_base
from vox_populi.pipeline.merge import (
    MergeReport,
    QloraMergeRequest,
    merge_qlora,
)
from vox_tensor.collate import collate_window
from vox_tensor.nf4 import dequantize_nf4, quantize_nf4
from vox_tensor.nf4_levels import Nf4Settings
from vox_tensor.nf4_weight import DenseCopies, DensePool
from vox_tensor.records import IGNORE_INDEX, EncodedRow

pytestmark = [pytest.mark.requirement("10"), pytest.mark.requirement("tier-a")]

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
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
SETTINGS = Nf4Settings(
    block_size=QUANTIZATION.nf4.block_size, double_quant=QUANTIZATION.nf4.double_quant
)
IDS = tuple(torch.randint(3, VOCAB, (24,), generator=torch.Generator().manual_seed(9)).tolist())
Named = Mapping[str, Tensor]


def merge(base: Path, adapter: Path, output: Path, **changes: Any) -> MergeReport:
    request = QloraMergeRequest(
        adapter=adapter, output=output, base=base, threads=1, max_shard_bytes=SHARD_BYTES
    )
    return merge_qlora(replace(request, **changes))


def modules_of(inventory: ModelInventory, header: AdapterHeader) -> list[AdapterModule]:
    known = {module.ours: module for module in adapter_modules(inventory.config)}
    return [known[module.ours] for module in header.modules]


def qlora_model(base: Path, header: AdapterHeader, tensors: Named) -> CausalGraph:
    """What was trained: NF4 in the blocks, the adapter beside it."""
    inventory = read_inventory(base)
    pool = DensePool(DenseCopies.NONE)
    model = load_nf4_base(inventory, torch.float32, "cpu", SETTINGS, pool)
    modules = modules_of(inventory, header)
    adapted = attach_adapters(model, modules, header.lora, torch.Generator())
    load_adapter_tensors(adapted, tensors)
    return model.eval()


@torch.no_grad()
def our_logits(model: CausalGraph, ids: Sequence[int] = IDS) -> Tensor:
    return model.logits(collate_window([EncodedRow(tuple(ids), (IGNORE_INDEX,) * len(ids))]))


@torch.no_grad()
def their_logits(folder: Path, ids: Sequence[int] = IDS) -> Tensor:
    """The logits of transformers, which must find every key that it expects, and no other."""
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    model, found = loaded
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not found[kind]
    logits: Tensor = model.eval()(torch.tensor([ids])).logits[0]
    return logits


def stored(folder: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    return tensors


def rounded(weight: Tensor, *, transposed: bool) -> Tensor:
    """A stored weight as training saw it, in float64 and the base's orientation."""
    dense_OI = weight.T.contiguous() if transposed else weight
    packed = quantize_nf4(
        dense_OI, block_size=SETTINGS.block_size, double_quant=SETTINGS.double_quant
    )
    found = dequantize_nf4(packed).double()
    return found.T if transposed else found


def updates(header: AdapterHeader, tensors: Named) -> dict[str, Tensor]:
    """By base key, in the base's orientation, in float64."""
    found = {}
    for module in header.modules:
        a, b = (tensors[f"{module.ours}.lora_{half}"].double() for half in "AB")
        delta = header.lora.scale * b @ a
        found[module.base_key] = delta.T if module.fan_in_fan_out else delta
    return found


@pytest.mark.parametrize("sharded", [False, True], ids=["single", "sharded"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_merge_qlora_onto_either_base_computes_what_it_says(
    name: str, dtype: str, sharded: bool, tmp_path: Path
) -> None:
    base, adapter = tmp_path / "base", tmp_path / "run"
    write_tiny_model(base, name, dtype=DTYPES[dtype], sharded=sharded)
    header, tensors = write_own(adapter, base)
    limit = SHARD_BYTES if sharded else 2**30
    reports = {
        onto: merge(base, adapter, tmp_path / onto, onto=onto, max_shard_bytes=limit)
        for onto in Onto
    }
    is_f32 = dtype == "f32"
    row = F32_MERGED if is_f32 else BF16_MERGED

    trained = our_logits(qlora_model(base, header, tensors))
    before = their_logits(base)
    found = {onto: their_logits(tmp_path / onto) for onto in Onto}
    assert_parity(found[Onto.DEQUANT], trained, row)
    assert differs(trained, before, row), "the adapter must change something"
    assert differs(found[Onto.ORIGINAL], trained, row), "rounding must change something"

    weights = stored(base)
    added = updates(header, tensors)
    transposed = {m.base_key: m.fan_in_fan_out for m in header.modules}
    assert reports[Onto.ORIGINAL].receipt.n_changed == len(added) == len(header.modules)
    weight_row: Tolerance = F32_MERGED_WEIGHT if is_f32 else BF16_WEIGHT
    for onto in Onto:
        assert (tmp_path / onto / "model.safetensors.index.json").exists() == sharded
        after = stored(tmp_path / onto)
        assert after.keys() == weights.keys()
        for key, weight in weights.items():
            assert after[key].dtype == DTYPES[dtype]
            if key not in added:
                assert_parity(after[key], weight, EXACT)
                continue
            start = weight.double()
            if onto is Onto.DEQUANT:
                start = rounded(weight, transposed=transposed[key])
            assert_parity(after[key].double(), start + added[key], weight_row)
            assert not torch.equal(after[key], weight)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("onto", Onto)
@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen3_tied_biased"])
def test_merge_qlora_receipt_has_the_distances_that_others_measure(
    name: str, onto: Onto, dtype: str, tmp_path: Path
) -> None:
    base, adapter = tmp_path / "base", tmp_path / "run"
    write_tiny_model(base, name, dtype=DTYPES[dtype])
    header, tensors = write_own(adapter, base)
    receipt = merge(base, adapter, tmp_path / "asked", onto=onto).receipt
    assert receipt.logits is not None
    assert receipt.qlora is not None
    assert receipt.qlora.onto == onto
    model = qlora_model(base, header, tensors)
    trained = torch.cat([our_logits(model, ids) for ids in receipt.logits.prompts])
    sizes = {}
    for each in Onto:
        # The one that was not asked for is in the receipt as well, and was never written.
        merge(base, adapter, tmp_path / each, onto=each)
        logits = [their_logits(tmp_path / each, ids) for ids in receipt.logits.prompts]
        difference = (torch.cat(logits) - trained).abs()
        said = receipt.qlora.distances[each]
        assert_close_number(said.max_difference, float(difference.max()), F32_LOGITS)
        assert_close_number(said.mean_difference, float(difference.mean()), F32_LOGITS)
        assert_close_number(said.largest_logit, float(trained.abs().max()), F32_LOGITS)
        same = (torch.cat(logits).argmax(-1) == trained.argmax(-1)).float().mean()
        assert_close_number(said.same_top_token, float(same), F32_LOGITS)
        sizes[each] = said.max_difference
    assert sizes[Onto.DEQUANT] < sizes[Onto.ORIGINAL]


@pytest.mark.parametrize("onto", Onto)
@pytest.mark.parametrize("name", ["gpt2", "qwen3_tied_biased", "llama"])
def test_merge_qlora_of_an_adapted_head_unties_it_in_so_many_words(
    name: str, onto: Onto, tmp_path: Path
) -> None:
    base, adapter, output = tmp_path / "base", tmp_path / "run", tmp_path / "merged"
    write_tiny_model(base, name)
    header, tensors = write_own(adapter, base, head=True)
    report = merge(base, adapter, output, onto=onto)
    assert not report.receipt.is_head_tied
    assert json.loads((output / "config.json").read_text("utf-8"))["tie_word_embeddings"] is False
    found, trained = their_logits(output), our_logits(qlora_model(base, header, tensors))
    if onto is Onto.DEQUANT:
        assert_parity(found, trained, F32_MERGED)
    weights, after = stored(base), stored(output)
    table = next(key for key in weights if key.endswith(("wte.weight", "embed_tokens.weight")))
    head = weights.get("lm_head.weight", weights[table])
    expected = head.double() + updates(header, tensors)["lm_head.weight"]
    assert_parity(after["lm_head.weight"].double(), expected, F32_MERGED_WEIGHT)
    assert_parity(after[table], weights[table], EXACT)
    assert differs(found, their_logits(base), F32_MERGED)


@pytest.mark.parametrize("onto", Onto)
@pytest.mark.parametrize("graph", [GraphId.PROXY_STACK, GraphId.HEAD_ONLY])
@pytest.mark.parametrize("name", ["gpt2", "qwen3_tied_biased", "llama"])
def test_merge_qlora_of_a_proxy_adapter_has_a_head_of_its_own(
    name: str, graph: GraphId, onto: Onto, tmp_path: Path
) -> None:
    base, adapter, output = tmp_path / "base", tmp_path / "run", tmp_path / "merged"
    write_tiny_model(base, name)
    header, tensors = write_own(adapter, base, graph)
    merge(base, adapter, output, onto=onto)
    assert json.loads((output / "config.json").read_text("utf-8"))["tie_word_embeddings"] is False
    weights, after = stored(base), stored(output)
    table = next(key for key in weights if key.endswith(("wte.weight", "embed_tokens.weight")))
    transposed = {m.base_key: m.fan_in_fan_out for m in header.modules}
    for key, delta in updates(header, tensors).items():
        weight = weights[table] if key == "lm_head.weight" else weights[key]
        start = weight.double()
        if onto is Onto.DEQUANT:
            start = rounded(weight, transposed=transposed[key])
        assert_parity(after[key].double(), start + delta, F32_MERGED_WEIGHT)
    untouched = weights.keys() - transposed.keys()
    assert table in untouched
    for key in untouched:
        assert_parity(after[key], weights[key], EXACT)
    assert differs(their_logits(output), their_logits(base), F32_MERGED)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("onto", Onto)
@pytest.mark.parametrize("name", ["gpt2", "qwen2_tied"])
def test_merge_qlora_subset_equals_sums_in_float64(
    name: str, onto: Onto, dtype: str, tmp_path: Path
) -> None:
    base, adapter, output = tmp_path / "base", tmp_path / "run", tmp_path / "part"
    write_tiny_model(base, name, dtype=DTYPES[dtype], sharded=True)
    header, tensors = write_own(adapter, base, head=True)
    merge(base, adapter, output, onto=onto, subset=True)
    weights, part = stored(base), load_file(output / SUBSET_FILE)
    table = next(key for key in weights if key.endswith(("wte.weight", "embed_tokens.weight")))
    expected = updates(header, tensors)
    transposed = {m.base_key: m.fan_in_fan_out for m in header.modules}
    for key in list(expected):
        if key == "lm_head.weight":
            expected[table] = expected.pop(key) + weights[table].double()
        elif onto is Onto.DEQUANT:
            expected[key] += rounded(weights[key], transposed=transposed[key])
        else:
            expected[key] += weights[key].double()
    assert part.keys() == expected.keys()
    for key, weight in expected.items():
        assert part[key].dtype == torch.float32
        assert_parity(part[key].double(), weight, F32_MERGED_WEIGHT)
        assert not torch.equal(part[key], weights[key].float())


@pytest.mark.parametrize("is_subset", [False, True], ids=["whole", "subset"])
@pytest.mark.parametrize("onto", Onto)
@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
def test_merge_qlora_is_the_same_bytes_for_every_shard_layout_and_thread_count(
    name: str, onto: Onto, is_subset: bool, tmp_path: Path
) -> None:
    written: list[dict[str, bytes]] = []
    for number, (sharded, threads) in enumerate(((False, 1), (True, 2), (True, 1), (True, 1))):
        base, output = tmp_path / f"{number}" / "base", tmp_path / f"merged-{number}"
        write_tiny_model(base, name, dtype=torch.bfloat16, sharded=sharded)
        adapter = tmp_path / f"run-{number}"
        write_own(adapter, base)
        merge(base, adapter, output, threads=threads, onto=onto, subset=is_subset)
        written.append({path.name: path.read_bytes() for path in output.iterdir()})
    # Only the receipt and the card name the base's files, which differ.
    names = [name for name in written[0] if name.endswith((".safetensors", ".index.json"))]
    assert len(names) == 1 if is_subset else len(names) > 2
    assert all(each[name] == written[0][name] for each in written for name in names)
    assert written[1] == written[2] == written[3], "the receipt too is the same for one layout"
