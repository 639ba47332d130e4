"""The one transformer of every full graph, whatever the model's family.

It runs on packed tokens and does not depend on files, requests or adapters: a projection may be
a `Linear` or a `LoraLinear`. Shape letters: T tokens, P requested positions, D width, V vocabulary.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from vox_populi.hf.model_config import ModelConfig
from vox_populi.model.activation_memory import Activations, repeated
from vox_populi.model.attention import PackContext
from vox_populi.model.block import Block
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.family_norm import build_norm
from vox_populi.model.kv_cache import KvCache
from vox_populi.model.kv_slots import SlotStep
from vox_populi.model.logit_factors import embedding_scale
from vox_populi.model.rotary import rotation
from vox_tensor.collate import PackedBatch


class Transformer(CausalGraph):
    """A causal language model; parameters have the names of `hf.keymap`'s left column."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.activations = Activations()
        """What training keeps of the blocks."""
        self.embed = _embedding(config.vocab_size, config.hidden_size)
        self.pos_embed = (
            _embedding(config.max_positions, config.hidden_size) if config.rope is None else None
        )
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.final_norm = build_norm(config, config.hidden_size)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.logit_cap = config.logit_cap
        self.tie_head()

    def tie_head(self) -> None:
        """Make the head share the embedding's tensor if the config says so."""
        if self.config.tie_word_embeddings:
            self.lm_head.weight = self.embed.weight

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights that are not quantised."""
        # Not the embedding's, of which processes hold parts as they are stored.
        dtype: torch.dtype = self.final_norm.weight.dtype
        return dtype

    def hidden(
        self,
        batch: PackedBatch,
        keep_P: Tensor | None = None,
        cache: KvCache | SlotStep | None = None,
    ) -> Tensor:
        """Hidden states as the head takes them: `[T, D]`, or `[P, D]` at `keep_P` only.

        With `keep_P`, the last block computes only those tokens after its attention. With `cache`,
        the batch, a single segment, continues where the cache ends and is appended to it. With
        slots, each of the batch's segments is one token and continues the text of its slot.
        """
        x_TD = self.embedded(batch.ids_T, batch.positions_T)
        table = local_table = None
        if self.config.rope is not None:
            rope, dim = self.config.rope, self.config.rotary_dim
            table = rotation(rope, dim, batch.positions_T, batch.offsets)
            local = self.config.local_rope
            if local is not None:
                local_table = rotation(local, dim, batch.positions_T, batch.offsets)
        activations = self.activations if torch.is_grad_enabled() else Activations()
        context = PackContext(
            batch.offsets,
            table,
            cache,
            local_rotary=local_table,
            branches=batch.branches,
            activations=activations,
        )
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            part = partial(block, context=context, keep_P=keep_P if index == last else None)
            repeats = activations.repeats_block
            x_TD = repeated(part, x_TD, activations) if repeats else part(x_TD)
        return self.head_input(x_TD)

    def embedded(self, ids_T: Tensor, positions_T: Tensor) -> Tensor:
        """What the first block takes, `[T, D]`."""
        x_TD: Tensor = self.embed(ids_T)
        scale = embedding_scale(self.config, x_TD.dtype)
        if scale != 1:
            x_TD = x_TD * scale
        return x_TD if self.pos_embed is None else x_TD + self.pos_embed(positions_T)

    def head_input(self, x_TD: Tensor) -> Tensor:
        """What the head takes of the last block's output, `[T, D]`; it has the logits' scale."""
        normed: Tensor = self.final_norm(x_TD)
        return normed if self.config.logit_scale == 1 else normed * self.config.logit_scale


def _embedding(rows: int, width: int) -> nn.Embedding:
    """A table of zeros to load later: random values would import torch's compiler, for a second."""
    return nn.Embedding(rows, width, _weight=torch.zeros(rows, width))
