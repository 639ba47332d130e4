"""GPT-2's attention as `torch.nn.MultiheadAttention`, for programs that support only that (D6).

The weights are the same numbers in the same places: the fused projection is `in_proj`, rows 0 to D
q, D to 2 D k, 2 D to 3 D v. A model that rotates queries and keys cannot be written this way. Shape
letters: D model width.
"""

from __future__ import annotations

import torch
from torch import nn

from vox_populi.errors import ArtifactError
from vox_populi.model.attention import Attention
from vox_populi.model.transformer import Transformer
from vox_populi.operator_messages import merge as say
from vox_tensor.lora import LoraLinear


@torch.no_grad()
def static_attention(model: Transformer, layer: int) -> nn.MultiheadAttention:
    """The attention of one GPT-2 layer after the layer's norm, with adapters folded in.

    The caller supplies the causal mask, as to any `MultiheadAttention`. Its input is what the
    layer's `attn_norm` returns, `[B, T, D]` (`batch_first`); `model` does not change.

    Raises:
        ArtifactError: For a family that rotates queries and keys.
        IndexError: For a layer that the model does not have.
    """
    config = model.config
    if not config.fused_qkv or config.rope is not None:
        raise ArtifactError(say.merge_into_static_attention_refused(config.model_type))
    attention = model.get_submodule(f"blocks.{range(config.n_layers)[layer]}.attn")
    assert isinstance(attention, Attention)
    fused, out = _plain(attention.qkv), _plain(attention.o)
    static = nn.MultiheadAttention(
        config.hidden_size,
        config.n_heads,
        dropout=0.0,
        bias=True,
        batch_first=True,
        device="meta",
        dtype=fused.weight.dtype,
    )
    static.in_proj_weight = _frozen(fused.weight)
    static.in_proj_bias = _frozen(fused.bias)
    static.out_proj.weight = _frozen(out.weight)
    static.out_proj.bias = _frozen(out.bias)
    return static.eval()


def _plain(layer: nn.Module) -> nn.Linear:
    """A merge of an adapted layer, or the plain layer itself."""
    plain = layer.merged() if isinstance(layer, LoraLinear) else layer
    assert isinstance(plain, nn.Linear)
    return plain


def _frozen(values: torch.Tensor) -> nn.Parameter:
    """A frozen copy, so that neither owner of the numbers can change the other's."""
    return nn.Parameter(values.detach().clone(), requires_grad=False)
