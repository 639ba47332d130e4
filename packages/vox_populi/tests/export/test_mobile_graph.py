"""The graph for a device computes what the model with its adapter computes, in every family."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

import torch

from vox_populi.export.mobile_graph import MobileGraph
from vox_populi.hf.family_registry import FAMILIES
from vox_populi.hf.keymap import adapter_modules
from vox_populi.hf.model_config import parse_model_config
from vox_populi.hf.model_family import ModelFamily
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.transformer import Transformer
from vox_tensor.collate import collate_window
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import IGNORE_INDEX, EncodedRow

VOCAB = 24
IDS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
ROUNDING = 2e-5
"""Two orders of f32 sums over layers as wide as these, relative to the largest score."""
PLAIN = [family for family in FAMILIES if family.tensors.experts is None]
"""Shapes inside a mixture of experts depend on the text."""


@pytest.mark.parametrize("family", PLAIN, ids=lambda family: family.name)
@pytest.mark.parametrize("window", [None, 3])
def test_a_graph_gives_the_scores_of_the_unmerged_model(
    family: ModelFamily, window: int | None
) -> None:
    raw = {**family.tiny, "vocab_size": VOCAB}
    if window is not None and "sliding_window" not in raw:
        pytest.skip("the family has no sliding window")
    config = parse_model_config(
        {**raw, **({} if window is None else {"sliding_window": window})}, "t"
    )
    generator = torch.Generator().manual_seed(1)
    model = Transformer(config).eval().requires_grad_(requires_grad=False)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    adapted = attach_adapters(
        model, adapter_modules(config)[:-1], LoraSpec(rank=2, alpha=4.0), generator, generator
    )
    for layer in adapted.values():
        layer.b_OR.data.copy_(torch.randn(layer.b_OR.shape, generator=generator))
    original = None if config.rope is None else config.rope.original_max_positions
    ids = IDS[:original]
    row = EncodedRow(ids, (IGNORE_INDEX, *ids[1:]))
    with torch.no_grad():
        ours = model.logits(collate_window([row]))
        before = ours.clone()
        theirs = MobileGraph(model, adapted)(torch.tensor([ids]))[0]
    assert theirs.shape == (len(ids), VOCAB)
    assert float((theirs - before).abs().max()) <= ROUNDING * float(before.abs().max())
    assert not any("lora" in name.lower() or ".a_RI" in name for name in model.state_dict())
