"""Tier A on a CUDA device: the second test of what the CPU tests have shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests_integration.tiny_models import FAMILY_CASES, SMOOTH_CASES, VOCAB, write_tiny_model
from tests_integration.tolerances import (
    BF16_LOGITS,
    F32_GRAD,
    F32_LOGITS,
    assert_parity,
    differs,
)
from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.keymap import adapter_modules
from vox_populi.infer.cached_model import CachedModel
from vox_populi.model.hf_load import load_base
from vox_populi.model.lora_transformer import attach_adapters
from vox_tensor.collate import collate_window
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import EncodedRow

pytestmark = pytest.mark.gpu


def draw_rows() -> list[EncodedRow]:
    generator = torch.Generator().manual_seed(6)
    drawn = (torch.randint(3, VOCAB, (n,), generator=generator).tolist() for n in (33, 9, 20))
    return [EncodedRow(tuple(ids), tuple(ids), line) for line, ids in enumerate(drawn, start=1)]


@pytest.mark.parametrize("name", FAMILY_CASES)
def test_logits_on_cuda_equal_those_on_the_cpu(name: str, tmp_path: Path) -> None:
    write_tiny_model(tmp_path, name)
    inventory, rows = read_inventory(tmp_path), draw_rows()
    with torch.no_grad():
        expected = load_base(inventory, torch.float32).logits(collate_window(rows))
        wide = load_base(inventory, torch.float32, "cuda").logits(collate_window(rows, "cuda"))
    assert_parity(wide.cpu(), expected, F32_LOGITS)


@pytest.mark.parametrize("name", SMOOTH_CASES)
def test_bf16_logits_on_cuda_equal_those_on_the_cpu(name: str, tmp_path: Path) -> None:
    write_tiny_model(tmp_path, name)
    inventory, rows = read_inventory(tmp_path), draw_rows()
    with torch.no_grad():
        expected = load_base(inventory, torch.float32).logits(collate_window(rows))
        narrow = load_base(inventory, torch.bfloat16, "cuda").logits(collate_window(rows, "cuda"))
    assert_parity(narrow.float().cpu(), expected, BF16_LOGITS)


@pytest.mark.parametrize("name", FAMILY_CASES)
def test_cached_scores_on_cuda_equal_those_on_the_cpu(name: str, tmp_path: Path) -> None:
    write_tiny_model(tmp_path, name)
    inventory, ids = read_inventory(tmp_path), list(draw_rows()[0].ids)
    # A prompt, one token more, then several: each takes its own way through attention.
    texts = (ids[:10], ids[:11], ids)
    scores = []
    for device in ("cpu", "cuda"):
        cached = CachedModel(load_base(inventory, torch.float32, device))
        scores.append(torch.stack([cached.next_logits(text) for text in texts]))
    assert_parity(scores[1], scores[0], F32_LOGITS)
    assert differs(scores[0][0], scores[0][1], F32_LOGITS)


@pytest.mark.parametrize("name", FAMILY_CASES)
def test_adapter_gradients_on_cuda_equal_those_on_the_cpu(name: str, tmp_path: Path) -> None:
    write_tiny_model(tmp_path, name)
    inventory = read_inventory(tmp_path)
    modules = adapter_modules(inventory.config)
    grads = []
    for device in ("cpu", "cuda"):
        model = load_base(inventory, torch.float32, device)
        generator = torch.Generator().manual_seed(5)
        adapted = attach_adapters(model, modules, LoraSpec(rank=4), generator)
        model.loss_sum(collate_window(draw_rows(), device)).backward()
        found = [layer.b_OR.grad for layer in adapted.values()]
        grads.append([g.cpu() for g in found if g is not None])
    assert len(grads[0]) == len(modules)
    for on_cpu, on_cuda in zip(*grads, strict=True):
        assert differs(on_cpu, torch.zeros_like(on_cpu), F32_GRAD)
        assert_parity(on_cuda, on_cpu, F32_GRAD)
