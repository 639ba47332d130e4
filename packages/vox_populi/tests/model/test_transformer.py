"""Shapes, names and invariants of the transformer; parity with others is an integration test."""

from __future__ import annotations

import pytest
import torch

from packages.vox_populi.tests.merged_transformer import merged_transformer
from vox_populi.hf.family_registry import FAMILIES
from vox_populi.hf.keymap import ProjectionRole, adapter_modules, tensor_keys
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.model.lora_transformer import (
    adapter_tensors,
    attach_adapters,
    load_adapter_tensors,
)
from vox_populi.model.transformer import Transformer
from vox_tensor.collate import PackedBatch, collate_window
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.records import IGNORE_INDEX, EncodedRow

VOCAB = 24
CASES = {family.name: {**family.tiny, "vocab_size": VOCAB} for family in FAMILIES}


@pytest.fixture(params=CASES)
def config(request: pytest.FixtureRequest) -> ModelConfig:
    return parse_model_config(CASES[request.param], "test")


def build(config: ModelConfig) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(config).eval()
    torch.nn.init.normal_(model.embed.weight)
    return model


def batch() -> PackedBatch:
    rows = [EncodedRow((1, 2, 3, 4, 5), (IGNORE_INDEX, 2, 3, 4, 5)), EncodedRow((7, 8), (7, 8))]
    return collate_window(rows)


@pytest.mark.requirement("2")
def test_burn_full_graph_smoke_forward_logits_shape(config: ModelConfig) -> None:
    logits = build(config).logits(batch())
    assert logits.shape == (7, VOCAB)
    assert torch.isfinite(logits).all()


def test_parameters_carry_the_names_and_shapes_of_the_key_map(config: ModelConfig) -> None:
    have = {name: tuple(p.shape) for name, p in build(config).state_dict().items()}
    want = {
        key.ours: tuple(reversed(key.shape)) if key.transposed else tuple(key.shape)
        for key in tensor_keys(config)
    }
    assert have == want


def test_only_kept_positions_are_computed_and_they_are_the_same(config: ModelConfig) -> None:
    model, packed = build(config), batch()
    keep = torch.tensor([0, 3, 6])
    torch.testing.assert_close(model.logits(packed, keep), model.logits(packed)[keep])


@pytest.mark.parametrize("name", CASES)
def test_a_row_of_a_window_sees_no_other_and_no_later_token(name: str) -> None:
    config = parse_model_config(CASES[name], "test")
    model = build(config)
    # With how many others a token shares an expert's product decides its last bit.
    same = torch.equal if config.experts is None else torch.allclose
    # Of a window of three the second row fits, the first does not: two ways of attending.
    first, second = (1, 2, 3, 4, 5, 6), (7, 8, 9)
    logits = model.logits(collate_window([EncodedRow(first, first), EncodedRow(second, second)]))
    # The shapes stay, so every number that does not depend on the changed token keeps its bits.
    for place in range(len(first) + len(second)):
        ids = [*first, *second]
        ids[place] = 20
        rows = (tuple(ids[: len(first)]), tuple(ids[len(first) :]))
        changed = model.logits(collate_window([EncodedRow(row, row) for row in rows]))
        others = range(place) if place >= len(first) else [*range(place), *range(6, 9)]
        assert same(changed[list(others)], logits[list(others)]), place
        assert not torch.equal(changed[place], logits[place])
        end = len(first) if place < len(first) else len(ids)
        if place + 1 < end:
            assert not torch.equal(changed[place + 1], logits[place + 1]), "the past is seen"


def test_loss_is_the_cross_entropy_of_the_logits_at_supervised_positions(
    config: ModelConfig,
) -> None:
    model, packed = build(config), batch()
    logits = model.logits(packed)[packed.supervised_P]
    expected = torch.nn.functional.cross_entropy(logits, packed.targets_P, reduction="sum")
    torch.testing.assert_close(model.loss_sum(packed), expected)
    assert packed.supervised_P.tolist() == [0, 1, 2, 3, 5]


def test_fused_projections_compute_what_separate_ones_do() -> None:
    """A Phi-3 that rotates whole heads is a Llama with its matrices stacked."""
    raw = {
        "vocab_size": VOCAB,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rms_norm_eps": 1e-5,
    }
    llama = build(parse_model_config({**raw, "model_type": "llama"}, "test"))
    phi3 = build(parse_model_config({**raw, "model_type": "phi3"}, "test"))
    state = llama.state_dict()
    for layer in range(2):
        for fused, parts in (("attn.qkv", "qkv"), ("mlp.gate_up", ("gate", "up"))):
            folder = fused.partition(".")[0]
            names = [f"blocks.{layer}.{folder}.{part}.weight" for part in parts]
            state[f"blocks.{layer}.{fused}.weight"] = torch.cat([state.pop(n) for n in names])
    phi3.load_state_dict(state)
    assert phi3.logits(batch()).std() > 0.1
    torch.testing.assert_close(phi3.logits(batch()), llama.logits(batch()))


def adapt(model: Transformer, *, head: bool) -> dict[str, torch.Tensor]:
    modules = [
        m for m in adapter_modules(model.config) if head or ProjectionRole.LM_HEAD not in m.roles
    ]
    adapted = attach_adapters(model, modules, LoraSpec(rank=2), torch.Generator().manual_seed(1))
    before = adapter_tensors(adapted)
    generator = torch.Generator().manual_seed(2)
    noisy = {k: t + 0.1 * torch.randn(t.shape, generator=generator) for k, t in before.items()}
    load_adapter_tensors(adapted, noisy)
    return noisy


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.requirement("4")
def test_merged_vox_transformer_matches_lora_full_forward(config: ModelConfig, head: bool) -> None:
    model, packed = build(config), batch()
    plain = model.logits(packed)
    adapt(model, head=head)
    adapted = model.logits(packed)
    assert not torch.allclose(adapted, plain)
    merged = merged_transformer(model)
    torch.testing.assert_close(merged.logits(packed), adapted, rtol=1e-4, atol=1e-4)
    assert torch.equal(model.logits(packed), adapted), "merging must leave the model alone"
    if config.tie_word_embeddings:
        assert (merged.lm_head.weight is merged.embed.weight) == (not head)


def test_attaching_fresh_adapters_changes_nothing_and_freezes_the_rest(config: ModelConfig) -> None:
    model, packed = build(config), batch()
    plain = model.logits(packed)
    modules = adapter_modules(config)
    adapted = attach_adapters(model, modules, LoraSpec(rank=2))
    assert torch.equal(model.logits(packed), plain)
    assert list(adapted) == [m.ours for m in modules]
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {f"{m.ours}.{leaf}" for m in modules for leaf in ("a_RI", "b_OR")}


def test_adapter_tensors_are_refused_unless_every_one_has_its_place(config: ModelConfig) -> None:
    model = build(config)
    adapted = attach_adapters(model, adapter_modules(config)[:2], LoraSpec(rank=2))
    tensors = adapter_tensors(adapted)
    first = next(iter(tensors))
    tensors["blocks.9.attn.q.lora_A"] = tensors.pop(first)
    with pytest.raises(ValueError, match=rf"missing {first}.*unexpected blocks\.9"):
        load_adapter_tensors(adapted, tensors)
