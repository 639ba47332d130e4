"""Tier A: folders that bitsandbytes packed, read here; folders packed here, read by bitsandbytes.

Two facts about bitsandbytes on the CPU shape these tests. Its dequantiser restarts the blocks at
every row, so the models have rows that are multiples of 64, unlike the other tiny models. And
where the processor has AVX512-BF16, an inference pass computes in bf16 whatever it is asked for;
a pass that could train does not, so their embeddings ask for a gradient.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from tests_integration.tiny_models import (
    CONFIGS,
    GRAPH_CASES,
    PLAIN_CASES,
    VOCAB,
    write_tiny_tokenizer,
)
from tests_integration.tolerances import EXACT, F32_LOGITS, assert_parity, differs
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.model.hf_load import load_base
from vox_populi.model.nf4_load import load_nf4_base, quantize_stored
from vox_populi.pipeline.quantize import QuantizeRequest
from vox_populi.pipeline.quantize_run import quantize
from vox_tensor.collate import collate_window
from vox_tensor.nf4 import NestedScales, Nf4Tensor
from vox_tensor.nf4_levels import Nf4Settings
from vox_tensor.nf4_weight import DensePool
from vox_tensor.records import EncodedRow

pytest.importorskip("bitsandbytes", reason="the oracle of these tests")

CASES = (*GRAPH_CASES, "llama_tied")
WIDE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
WIDE_BY_TYPE = {
    "gpt2": {"n_embd": 64},
    "granitemoehybrid": {**WIDE, "shared_intermediate_size": 128, "mamba_d_head": "auto"},
}
IDS = tuple(torch.randint(3, VOCAB, (23,), generator=torch.Generator().manual_seed(1)).tolist())
ROW = collate_window([EncodedRow(ids=IDS, labels=IDS, line=1)])


def write_wide_model(folder: Path, name: str, dtype: torch.dtype) -> None:
    """A variant whose rows are whole blocks, with every parameter drawn at random."""
    disable_progress_bar()  # type: ignore[no-untyped-call]  # theirs, unannotated
    small = CONFIGS[name]()
    changes = WIDE_BY_TYPE.get(small.model_type, WIDE)
    config = type(small)(**{**small.to_dict(), **changes})
    # Theirs, unannotated.
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name_, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=draw)
            is_norm = parameter.dim() == 1 and name_.endswith("weight")
            parameter.copy_(1 + 0.2 * noise if is_norm else noise / 8)
    model.to(dtype).save_pretrained(folder)
    write_tiny_tokenizer(folder)


def packed_by_bitsandbytes(
    folder: Path, output: Path, dtype: torch.dtype, *, double_quant: bool
) -> None:
    """Let transformers quantise while it loads, and save."""
    settings = BitsAndBytesConfig(  # type: ignore[no-untyped-call]  # theirs, unannotated
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double_quant,
        bnb_4bit_compute_dtype=dtype,
    )
    model = AutoModelForCausalLM.from_pretrained(
        folder, quantization_config=settings, dtype=dtype, device_map="cpu"
    )
    model.save_pretrained(output)


def parts_of(weight: Nf4Tensor) -> list[Tensor]:
    scales = weight.scales
    if isinstance(scales, NestedScales):
        return [weight.codes, scales.codes_B, scales.absmax_G, scales.levels, scales.offset]
    return [weight.codes, scales]


def our_logits(inventory: ModelInventory, settings: Nf4Settings) -> Tensor:
    model = load_nf4_base(inventory, torch.float32, "cpu", settings, DensePool())
    return model.logits(ROW)


def their_logits(folder: Path) -> Tensor:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, device_map="cpu")
    assert getattr(model, "is_loaded_in_4bit", False)
    embeddings = model.get_input_embeddings()
    assert embeddings is not None
    embeddings.requires_grad_(True)
    logits: Tensor = model(torch.tensor([IDS])).logits[0]
    return logits.detach()


@pytest.mark.parametrize("double_quant", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", CASES)
def test_their_folder_is_our_own_quantisation_bit_for_bit(
    tmp_path: Path, name: str, dtype: torch.dtype, double_quant: bool
) -> None:
    write_wide_model(tmp_path / "base", name, dtype)
    packed_by_bitsandbytes(tmp_path / "base", tmp_path / "packed", dtype, double_quant=double_quant)
    base = read_inventory(tmp_path / "base")
    theirs = read_inventory(tmp_path / "packed", allow_nf4=True)
    settings = Nf4Settings(double_quant=double_quant)
    assert len(theirs.nf4) == len(base.quantized_keys()) == len(theirs.quantized_keys()) > 10
    assert theirs.tied_head == base.tied_head
    distinct = set()
    for key in base.quantized_keys():
        ours = quantize_stored(base, key, settings)
        # Settings that would show if anything were quantised again.
        read = quantize_stored(theirs, key, Nf4Settings(block_size=4096, double_quant=False))
        assert (read.shape, read.dtype, read.block_size) == (ours.shape, ours.dtype, 64)
        for left, right in zip(parts_of(ours), parts_of(read), strict=True):
            assert_parity(left, right, EXACT)
        distinct.add(bytes(read.codes.flatten().tolist()))
    assert len(distinct) == len(base.quantized_keys()), "no two layers are the same"
    for name_, info in theirs.tensors.items():
        assert info.shape == base.tensors[name_].shape


@pytest.mark.parametrize("double_quant", [True, False])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.requirement("tier-a")
def test_our_folder_loads_in_transformers_and_computes_the_same(
    tmp_path: Path, name: str, double_quant: bool
) -> None:
    write_wide_model(tmp_path / "base", name, torch.float32)
    request = QuantizeRequest(
        model_dir=tmp_path / "base",
        output=tmp_path / "ours",
        double_quant=double_quant,
        max_shard_bytes=60_000,
    )
    quantize(request)
    base = read_inventory(tmp_path / "base")
    written = read_inventory(tmp_path / "ours", allow_nf4=True)
    assert len(written.shards) > 1
    ours = our_logits(written, Nf4Settings())
    assert_parity(our_logits(base, Nf4Settings(double_quant=double_quant)), ours, EXACT)
    assert_parity(ours, their_logits(tmp_path / "ours"), F32_LOGITS)
    assert differs(ours, load_base(base, torch.float32).logits(ROW), F32_LOGITS)


@pytest.mark.parametrize("name", PLAIN_CASES)
def test_a_prequantised_folder_computes_the_same_in_both(tmp_path: Path, name: str) -> None:
    write_wide_model(tmp_path / "base", name, torch.float32)
    packed_by_bitsandbytes(tmp_path / "base", tmp_path / "packed", torch.float32, double_quant=True)
    inventory = read_inventory(tmp_path / "packed", allow_nf4=True)
    ours, theirs = our_logits(inventory, Nf4Settings()), their_logits(tmp_path / "packed")
    assert_parity(ours, theirs, F32_LOGITS)
    dense = load_base(read_inventory(tmp_path / "base"), torch.float32).logits(ROW)
    assert differs(ours, dense, F32_LOGITS)


@pytest.mark.parametrize("double_quant", [True, False])
def test_both_folders_hold_the_same_tensors(tmp_path: Path, double_quant: bool) -> None:
    write_wide_model(tmp_path / "base", "llama", torch.bfloat16)
    packed_by_bitsandbytes(
        tmp_path / "base", tmp_path / "theirs", torch.bfloat16, double_quant=double_quant
    )
    quantize(
        QuantizeRequest(
            model_dir=tmp_path / "base", output=tmp_path / "ours", double_quant=double_quant
        )
    )
    theirs, ours = (load_file(tmp_path / n / "model.safetensors") for n in ("theirs", "ours"))
    assert theirs.keys() == ours.keys()
    for name, tensor in theirs.items():
        if name.endswith("bitsandbytes__nf4"):
            left, right = (json.loads(bytes(t.tolist())) for t in (tensor, ours[name]))
            assert left == right
        else:
            assert_parity(ours[name], tensor, EXACT)
            assert ours[name].dtype == tensor.dtype
    entry = quantization_of(tmp_path / "ours")
    expected = quantization_of(tmp_path / "theirs")
    unsaid = {"llm_int8_skip_modules", "_load_in_4bit", "_load_in_8bit"}
    for field in expected.keys() - unsaid:
        assert entry[field] == expected[field], field


def quantization_of(folder: Path) -> dict[str, Any]:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    entry: dict[str, Any] = config["quantization_config"]
    return entry


@pytest.mark.parametrize("block_size", [32, 128])
def test_other_block_sizes_load_in_transformers(tmp_path: Path, block_size: int) -> None:
    """Through the quant state of each weight: their config has no field for it."""
    write_wide_model(tmp_path / "base", "llama", torch.float32)
    shutil.copytree(tmp_path / "base", tmp_path / "wide")
    if block_size > 64:
        widen(tmp_path / "wide")
    request = QuantizeRequest(
        model_dir=tmp_path / "wide", output=tmp_path / "ours", block_size=block_size
    )
    quantize(request)
    inventory = read_inventory(tmp_path / "ours", allow_nf4=True)
    assert next(iter(inventory.nf4.values())).settings.block_size == block_size
    assert_parity(our_logits(inventory, Nf4Settings()), their_logits(tmp_path / "ours"), F32_LOGITS)


def widen(folder: Path) -> None:
    """The same family with rows of 128 values."""
    small = CONFIGS["llama"]()
    changes = {"hidden_size": 128, "intermediate_size": 128, "head_dim": 32}
    config = type(small)(**{**small.to_dict(), **changes})
    torch.manual_seed(3)
    # Theirs, unannotated.
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    model.save_pretrained(folder)
