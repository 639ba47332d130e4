"""GPT-2's attention has a static form, a rotated one has none."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from packages.vox_populi.tests.merged_transformer import merged_transformer
from vox_populi.errors import ArtifactError
from vox_populi.hf.keymap import ProjectionRole, adapter_modules
from vox_populi.hf.model_config import parse_model_config
from vox_populi.merge.static_attention import static_attention
from vox_populi.model.attention import Attention, PackContext
from vox_populi.model.lora_transformer import attach_adapters
from vox_populi.model.norm import Norm
from vox_populi.model.transformer import Transformer
from vox_tensor.lora_spec import LoraSpec

GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
}
TOKENS = 5


def adapted_model() -> Transformer:
    generator = torch.Generator().manual_seed(0)
    config = parse_model_config({"vocab_size": 24, **GPT2}, "test")
    torch.manual_seed(0)
    model = Transformer(config).eval()
    roles = {ProjectionRole.Q, ProjectionRole.O}
    modules = [m for m in adapter_modules(config) if roles & set(m.roles)]
    adapted = attach_adapters(model, modules, LoraSpec(rank=2, alpha=6.0), generator)
    with torch.no_grad():
        for layer in adapted.values():
            layer.b_OR.normal_(generator=generator)
    return model


@torch.no_grad()
def attended(model: Transformer, layer: int, x_TD: Tensor) -> Tensor:
    """What the layer adds to the residual stream for an input behind its norm."""
    attention = model.get_submodule(f"blocks.{layer}.attn")
    assert isinstance(attention, Attention)
    mixed = attention.mix(x_TD, Passing(), PackContext((0, TOKENS), None))
    out: Tensor = attention.o(mixed)
    return out


class Passing(Norm):
    """A norm that lets everything through."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x

    def input_gradient(self, g: Tensor, x: Tensor) -> Tensor:
        raise NotImplementedError


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.requirement("10")
def test_merge_into_static_attention_computes_the_same(layer: int) -> None:
    model = adapted_model()
    x_TD = torch.randn(TOKENS, 16, generator=torch.Generator().manual_seed(1))
    expected = attended(model, layer, x_TD)

    static = static_attention(model, layer)

    causal = torch.nn.Transformer.generate_square_subsequent_mask(TOKENS)
    with torch.no_grad():
        found, _ = static(x_TD[None], x_TD[None], x_TD[None], attn_mask=causal)
    torch.testing.assert_close(found[0], expected, rtol=1e-5, atol=1e-5)
    merged = merged_transformer(model).get_submodule(f"blocks.{layer}.attn")
    assert isinstance(merged, Attention)
    assert torch.equal(static.in_proj_weight, merged.qkv.weight)
    assert torch.equal(static.out_proj.weight, merged.o.weight)
    assert torch.equal(attended(model, layer, x_TD), expected), "the model must not change"


@pytest.mark.requirement("10")
def test_merge_into_static_attention_refuses_rotation_by_name() -> None:
    config = parse_model_config({"vocab_size": 24, **LLAMA}, "test")
    with pytest.raises(ArtifactError, match=r"MENS-A047.*llama.*RoPE"):
        static_attention(Transformer(config), 0)


def test_a_layer_that_is_not_there_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(IndexError):
        static_attention(adapted_model(), 2)
