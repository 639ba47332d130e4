"""Self-attention over packed rows: projections, optional q/k norm, rotation, mixing.

Shape letters: T tokens, D model width, H query heads, K key/value heads, E head dim.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor, nn

from vox_populi.hf.model_config import ModelConfig
from vox_populi.model.activation_memory import Activations
from vox_populi.model.family_norm import build_norm
from vox_populi.model.head_rotation import normed_rotary
from vox_populi.model.kv_cache import KvCache
from vox_populi.model.kv_slots import SlotStep
from vox_populi.model.norm import Norm
from vox_populi.model.normed_projection import normed_project
from vox_populi.model.rotary import Rotation
from vox_tensor.capped_attention import capped_continuation, capped_segments
from vox_tensor.flash_forest import Branch
from vox_tensor.prefix_attention import prefix_attention, row_spans
from vox_tensor.score_rule import ScoreRule
from vox_tensor.segment_attention import continued_attention, segment_attention


@dataclass(frozen=True, slots=True)
class PackContext:
    """Values shared by all blocks of a forward pass."""

    offsets: tuple[int, ...]
    """Segment borders of the pack."""
    rotary: Rotation | None
    """`None` if positions were added to the embeddings."""
    cache: KvCache | SlotStep | None = None
    """Earlier tokens that the pack continues; the pack's tokens are appended. With slots, each
    token of the pack continues a text of its own."""
    attend: Callable[[Tensor, Tensor, Tensor, ScoreRule], Tensor] | None = None
    """Attention of one text in plain operations, from queries, keys and values, for a graph that is
    exported; `None` for torch's kernels."""
    local_rotary: Rotation | None = None
    """`rotary` of layers with a window, in families where these rotate differently."""
    branches: tuple[Branch, ...] = ()
    """Segments of the pack that others continue."""
    activations: Activations = field(default_factory=Activations)
    """What the blocks keep for their backward passes."""


class Attention(nn.Module):
    """Grouped-query causal attention; the block applies `o` after selecting tokens."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads
        self.head_dim, self.rotates = config.head_dim, config.rotary_layers[layer]
        window = config.sliding_window if config.sliding_layers[layer] else None
        self.rule = ScoreRule(config.attention_scale, window, config.attention_cap)
        width, inner = config.hidden_size, config.n_heads * config.head_dim
        kv_inner = config.n_kv_heads * config.head_dim
        if config.fused_qkv:
            self.qkv = nn.Linear(width, inner + 2 * kv_inner, bias=config.qkv_bias)
        else:
            self.q = nn.Linear(width, inner, bias=config.qkv_bias)
            self.k = nn.Linear(width, kv_inner, bias=config.qkv_bias)
            self.v = nn.Linear(width, kv_inner, bias=config.qkv_bias)
        self.o = nn.Linear(inner, width, bias=config.o_bias)
        self.fused_qkv = config.fused_qkv
        self.is_local = config.local_rope is not None and config.sliding_layers[layer]
        self.q_norm, self.k_norm = (
            build_norm(config, config.qk_norm_features(n)) if config.qk_norm else None
            for n in (self.n_heads, self.n_kv_heads)
        )

    def mix(self, x_TD: Tensor, norm: Norm | None, context: PackContext) -> Tensor:
        """Attend `norm(x)`, `[T, D]`, or `x` without a norm.

        The result is the heads side by side, `[T, H * E]`, before `o`.
        """
        q_THE, k_TKE, v_TKE = self._heads(x_TD, norm)
        rotary = context.local_rotary if self.is_local else context.rotary
        queries, keys = (None, None) if rotary is None or not self.rotates else rotary
        q_THE = normed_rotary(q_THE, self.q_norm, queries)
        k_TKE = normed_rotary(k_TKE, self.k_norm, keys)
        if keys is not None:
            # Of a fused projection the values are a view, which would keep q and k before their
            # rotation alive until the backward pass.
            v_TKE = v_TKE.contiguous()
        return self._attend(q_THE, k_TKE, v_TKE, context).reshape(x_TD.shape[0], -1)

    def _attend(self, q_THE: Tensor, k: Tensor, v: Tensor, context: PackContext) -> Tensor:
        scale, window, cap = self.rule
        if context.attend is not None:
            return context.attend(q_THE, k, v, self.rule)
        if isinstance(context.cache, SlotStep):
            return context.cache.attend(self.layer, (q_THE, k, v), self.rule)
        if context.cache is not None:
            k, v = context.cache.layers[self.layer].append(k, v)
        offsets, branches = context.offsets, context.branches
        if cap is not None:
            if k.shape[0] > q_THE.shape[0]:
                return capped_continuation(q_THE, k, v, self.rule)
            return capped_segments(q_THE, k, v, row_spans(offsets, branches), self.rule)
        if k.shape[0] > q_THE.shape[0]:
            return continued_attention(q_THE, k, v, scale=scale, window=window)
        if branches:
            return prefix_attention(q_THE, k, v, offsets, branches, scale=scale, window=window)
        return segment_attention(q_THE, k, v, offsets, scale=scale, window=window)

    def _heads(self, x_TD: Tensor, norm: Norm | None) -> tuple[Tensor, Tensor, Tensor]:
        if self.fused_qkv:
            (qkv,) = normed_project(x_TD, norm, (self.qkv,))
            sizes = [n * self.head_dim for n in (self.n_heads, self.n_kv_heads, self.n_kv_heads)]
            q, k, v = qkv.split(sizes, dim=-1)
        else:
            q, k, v = normed_project(x_TD, norm, (self.q, self.k, self.v))
        return (
            q.unflatten(-1, (self.n_heads, self.head_dim)),
            k.unflatten(-1, (self.n_kv_heads, self.head_dim)),
            v.unflatten(-1, (self.n_kv_heads, self.head_dim)),
        )
