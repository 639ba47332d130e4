"""The proxy graph of QLoRA: attention output projections and a tied head, and no attention.

It predicts a token from the embedding row of the one before it, so it is not a language model and
its loss is not comparable with that of a full graph.
Factors of embeddings and logits and the cap of the logits are the family's, as in its full graph.
Shape letters: P positions, D model width, V vocabulary, N middle layers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vox_populi.hf.keymap import HEAD
from vox_populi.hf.model_config import ModelConfig
from vox_populi.model.logit_factors import embedding_scale, soft_capped
from vox_populi.model.norm import RmsNorm
from vox_populi.model.normed_projection import normed_project
from vox_tensor.collate import PackedBatch
from vox_tensor.head_loss import linear_cross_entropy
from vox_tensor.lora import FrozenLinear, LoraLinear, project_shared, projection_of
from vox_tensor.lora_spec import LoraSpec

NORM_EPS = 1e-5


class ProxyStack(nn.Module):
    """`h += F_i(rmsnorm(h)) / sqrt(N)` for each middle layer, `h /= sqrt(N)`, then the head.

    `h` starts as the frozen embedding row of a token, times the family's factor; the norm's gain is
    1, the layers have no bias. Without middle layers there is only the head. Its result has the
    family's factor and cap of the logits.

    Args:
        embed_VD: The frozen embedding table, in the compute dtype.
        middle: Layers `[D, D]` by our module name, in key order.
        head: `[V, D]`: a quantised copy of the embedding table.
        config: Says the factors and the cap; `None`: there are none.
    """

    def __init__(
        self,
        embed_VD: Tensor,
        middle: Mapping[str, FrozenLinear],
        head: FrozenLinear,
        config: ModelConfig | None = None,
    ) -> None:
        super().__init__()
        self.embedding_scale = 1.0 if config is None else embedding_scale(config, embed_VD.dtype)
        self.logit_scale = 1.0 if config is None else config.logit_scale
        self.logit_cap = None if config is None else config.logit_cap
        vocab, width = embed_VD.shape
        self.embed = nn.Embedding(vocab, width, _weight=embed_VD)
        self.names = (*middle, HEAD)
        self.middle = nn.ModuleList(middle.values())
        self.norm = RmsNorm(width, NORM_EPS).to(device=embed_VD.device, dtype=embed_VD.dtype)
        self.head: nn.Module = head
        self.requires_grad_(requires_grad=False)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.embed.weight.device

    def attach_adapters(
        self,
        spec: LoraSpec,
        init: torch.Generator | None = None,
        dropout: torch.Generator | None = None,
    ) -> dict[str, LoraLinear]:
        """Wrap every layer of the stack, in order; B is zero, so nothing changes yet.

        Args:
            spec: Hyper-parameters of all of them.
            init: Random stream for A's initial values.
            dropout: Random stream for dropout masks.

        Returns:
            The adapted layers by our module name.
        """
        layers = [LoraLinear(_bare(layer), spec, init, dropout) for layer in self.middle]
        head = LoraLinear(_bare(self.head), spec, init, dropout)
        self.middle, self.head = nn.ModuleList(layers), head
        return dict(zip(self.names, (*layers, head), strict=True))

    def hidden(self, ids_P: Tensor) -> Tensor:
        """The head's input after the tokens `ids_P`, `[P, D]`; it has the logits' factor."""
        h_PD: Tensor = self.embed(ids_P)
        if self.embedding_scale != 1:
            h_PD = h_PD * self.embedding_scale
        n_middle = len(self.middle)
        for layer in self.middle:
            (update_PD,) = normed_project(h_PD, self.norm, (layer,))
            h_PD = h_PD + update_PD / math.sqrt(n_middle)
        h_PD = h_PD / math.sqrt(n_middle) if n_middle else h_PD
        return h_PD if self.logit_scale == 1 else h_PD * self.logit_scale

    def logits(self, ids_P: Tensor) -> Tensor:
        """Scores of the token after each of `ids_P`: `[P, V]`, in the compute dtype."""
        h_PD = self.hidden(ids_P)
        (out_PV,) = project_shared(h_PD, (projection_of(self.head, h_PD),))
        return soft_capped(out_PV, self.logit_cap)

    def loss_sum(self, batch: PackedBatch) -> Tensor:
        """Sum of the weighted cross entropies at supervised positions, a float32 scalar.

        A position predicts its target only from the token at that position.
        """
        h_PD = self.hidden(batch.ids_T.index_select(0, batch.supervised_P))
        head = projection_of(self.head, h_PD)
        return linear_cross_entropy(
            h_PD, head, batch.targets_P, weights_P=batch.weights_P, cap=self.logit_cap
        )


def _bare(layer: nn.Module) -> FrozenLinear:
    assert isinstance(layer, FrozenLinear), "it is adapted already"
    return layer
