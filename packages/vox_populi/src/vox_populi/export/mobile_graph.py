"""A merged model as one graph of plain operations: ids in, scores of the next tokens out.

Shape letters: T tokens, H query heads, K key/value heads, G rows of queries that share a key head,
E head dim, V vocabulary. Needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vox_populi.hf.rope_config import RopeSpec
from vox_populi.model.attention import PackContext
from vox_populi.model.logit_factors import soft_capped
from vox_populi.model.rotary import RotaryTable, Rotation, query_table, rotary_frequencies
from vox_populi.model.transformer import Transformer
from vox_tensor.lora import LoraLinear
from vox_tensor.score_rule import ScoreRule

_NEVER = -1e9
"""Score of a key that a query may not see, as in the source system's attention."""


class MobileGraph(nn.Module):
    """A transformer on one text, with its adapters folded in; computes in float32.

    Texts must be within the original context of LongRoPE, whose short factors are used.
    """

    def __init__(self, model: Transformer, adapted: Mapping[str, LoraLinear]) -> None:
        super().__init__()
        self.model = model.eval()
        for name, layer in adapted.items():
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.merged())

    def forward(self, input_ids: Tensor) -> Tensor:
        """Scores `[1, T, V]` for ids `[1, T]`: those at t are of the token after t."""
        model, ids_T = self.model, input_ids[0]
        positions_T = torch.arange(ids_T.shape[0])
        x_TD = model.embedded(ids_T, positions_T)
        config = model.config
        context = PackContext(
            (0, ids_T.shape[0]),
            self._rotary(config.rope, positions_T),
            local_rotary=self._rotary(config.local_rope, positions_T),
            attend=_attend,
        )
        for block in model.blocks:
            x_TD = block(x_TD, context)
        scores: Tensor = soft_capped(model.lm_head(model.head_input(x_TD)), config.logit_cap)
        return scores.unsqueeze(0)

    def _rotary(self, rope: RopeSpec | None, positions_T: Tensor) -> Rotation | None:
        if rope is None:
            return None
        frequencies_F, factor = rotary_frequencies(rope, self.model.config.rotary_dim)
        angles_TF = positions_T.float().unsqueeze(1) * frequencies_F
        cos, sin = (f(angles_TF).mul(factor).unsqueeze(1) for f in (torch.cos, torch.sin))
        table = RotaryTable(cos, sin)
        return Rotation(query_table(rope, table, positions_T), table)


def _attend(q_THE: Tensor, k: Tensor, v: Tensor, rule: ScoreRule) -> Tensor:
    """Causal softmax attention `[T, H, E]` with keys and values `[T, K, E]`.

    The queries that share a key head are one matrix of H / K times T rows. LiteRT 2.3
    computes wrong scores where one key head is repeated for several queries instead.
    """
    n_tokens, n_heads, head_dim = q_THE.shape
    n_groups = n_heads // k.shape[1]
    key_KTE, value_KTE = (t.transpose(0, 1) for t in (k, v))
    query_HTE = q_THE.transpose(0, 1)
    query_KGE = query_HTE.reshape(-1, n_groups * n_tokens, head_dim)
    scores_KGT = query_KGE @ key_KTE.transpose(1, 2) * rule.scale
    if rule.cap is not None:
        scores_KGT = torch.tanh(scores_KGT / rule.cap) * rule.cap
    scores_HTT = scores_KGT.reshape(n_heads, n_tokens, n_tokens)
    place_T = torch.arange(n_tokens)
    distance_TT = place_T.unsqueeze(1) - place_T.unsqueeze(0)
    is_seen_TT = distance_TT >= 0
    if rule.window is not None:
        is_seen_TT = is_seen_TT & (distance_TT < rule.window)
    weights_HTT = scores_HTT.masked_fill(~is_seen_TT, _NEVER).softmax(-1)
    out_KGE = weights_HTT.reshape(-1, n_groups * n_tokens, n_tokens) @ value_KTE
    return out_KGE.reshape(n_heads, n_tokens, head_dim).transpose(0, 1)
