"""Tier A: logits of every family against transformers, alone and packed, from its own folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from tests_integration.tiny_models import (
    CONFIGS,
    FAMILY_CASES,
    SMOOTH_CASES,
    VOCAB,
    respell_for_transformers_4,
    write_tiny_model,
)
from tests_integration.tolerances import BF16_LOGITS, F32_LOGITS, F32_LOSS_SUM, assert_parity
from vox_populi.hf.inventory import read_inventory
from vox_populi.model.hf_load import load_base
from vox_tensor.collate import PackedBatch, collate_window
from vox_tensor.records import IGNORE_INDEX, EncodedRow

LENGTHS = (40, 7, 23)


def draw_rows(seed: int = 0) -> list[EncodedRow]:
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for line, length in enumerate(LENGTHS, start=1):
        ids = tuple(torch.randint(3, VOCAB, (length,), generator=generator).tolist())
        masked = length // 3
        rows.append(EncodedRow(ids, (IGNORE_INDEX,) * masked + ids[masked:], line))
    return rows


@torch.no_grad()
def their_logits(model: PreTrainedModel, rows: list[EncodedRow]) -> Tensor:
    """Each row on its own, end to end."""
    return torch.cat([model(torch.tensor([row.ids])).logits[0] for row in rows])


@torch.no_grad()
def our_logits(folder: Path, batch: PackedBatch, dtype: torch.dtype = torch.float32) -> Tensor:
    return load_base(read_inventory(folder), dtype).logits(batch)


@pytest.mark.parametrize("sharded", [False, True], ids=["single", "sharded"])
@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.requirement("tier-a")
def test_packed_logits_equal_transformers_row_by_row(
    name: str, sharded: bool, tmp_path: Path
) -> None:
    theirs = write_tiny_model(tmp_path, name, sharded=sharded)
    rows = draw_rows()
    expected = their_logits(theirs, rows)
    assert_parity(our_logits(tmp_path, collate_window(rows)), expected, F32_LOGITS)
    assert expected.std() > F32_LOGITS.atol, "constant logits would prove nothing"


@pytest.mark.parametrize("name", [*FAMILY_CASES, "phi3_longrope", "phi3_sliding"])
def test_packed_equals_unpacked(name: str, tmp_path: Path) -> None:
    write_tiny_model(tmp_path, name)
    rows = draw_rows()
    alone = torch.cat([our_logits(tmp_path, collate_window([row])) for row in rows])
    assert_parity(our_logits(tmp_path, collate_window(rows)), alone, F32_LOGITS)


@pytest.mark.parametrize(
    "name",
    [
        "gemma3",
        "llama_llama3",
        "llama_yarn",
        "llama_linear",
        "mistral",
        "olmo3",
        "phi3_longrope",
        "phi3_sliding",
        "qwen3",
    ],
)
def test_both_config_spellings_compute_the_same(name: str, tmp_path: Path) -> None:
    theirs = write_tiny_model(tmp_path, name)
    rows = draw_rows()
    respell_for_transformers_4(tmp_path)
    ours = our_logits(tmp_path, collate_window(rows))
    assert_parity(ours, their_logits(theirs, rows), F32_LOGITS)


@pytest.mark.parametrize("name", SMOOTH_CASES)
def test_bf16_folders_compute_in_f32_and_in_bf16(name: str, tmp_path: Path) -> None:
    write_tiny_model(tmp_path, name, dtype=torch.bfloat16)
    # Loaded anew: `.float()` of a bf16 model would keep its rotary frequencies rounded.
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    rows = draw_rows()
    batch = collate_window(rows)
    expected = their_logits(theirs, rows)
    assert_parity(our_logits(tmp_path, batch), expected, F32_LOGITS)
    rounded = our_logits(tmp_path, batch, torch.bfloat16)
    assert rounded.dtype == torch.bfloat16
    assert_parity(rounded.float(), expected, BF16_LOGITS)


@pytest.mark.parametrize("name", FAMILY_CASES)
def test_masked_loss_equals_transformers_loss_on_the_same_labels(name: str, tmp_path: Path) -> None:
    theirs = write_tiny_model(tmp_path, name)
    rows = draw_rows()
    expected = torch.zeros(())
    with torch.no_grad():
        for row in rows:
            out = theirs(torch.tensor([row.ids]), labels=torch.tensor([row.labels]))
            expected += out.loss * row.n_supervised
        ours = load_base(read_inventory(tmp_path), torch.float32).loss_sum(collate_window(rows))
    assert_parity(ours, expected, F32_LOSS_SUM)
