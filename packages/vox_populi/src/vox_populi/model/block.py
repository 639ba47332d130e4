"""One block. Shape letters: T tokens, P kept tokens, D model width."""

from __future__ import annotations

from torch import Tensor, nn

from vox_populi.hf.model_config import ModelConfig
from vox_populi.model.activation_memory import repeated
from vox_populi.model.attention import Attention, PackContext
from vox_populi.model.experts import Experts
from vox_populi.model.family_norm import build_norm
from vox_populi.model.mlp import Mlp
from vox_populi.model.norm import Norm
from vox_tensor.lora import project_shared, projection_of


class Block(nn.Module):
    """`x + s * attention(norm(x))`, then `x + s * mlp(norm(x))`; s is 1 in most families.

    The families differ in where the norms are: in front of attention and MLP, behind them (the
    terms `norm(attention(x))` and `norm(mlp(x))`), or both.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attn_norm = _norm(config, "attn_norm")
        self.attn = Attention(config, layer)
        self.attn_post_norm = _norm(config, "attn_post_norm")
        self.mlp_norm = _norm(config, "mlp_norm")
        self.mlp = Experts(config) if config.is_mixture(layer) else Mlp(config)
        self.mlp_post_norm = _norm(config, "mlp_post_norm")
        self.residual_scale = config.residual_scale

    def forward(
        self,
        x_TD: Tensor,
        context: PackContext,
        keep_P: Tensor | None = None,
        *,
        is_repeat: bool = False,
    ) -> Tensor:
        """Map `[T, D]` to `[T, D]`, or to `[P, D]` when only tokens `keep_P` matter after it.

        Attention still reads every token; everything after it is computed only for kept tokens.

        Args:
            x_TD: The input.
            context: What all blocks share.
            keep_P: Tokens that matter afterwards; `None` for all.
            is_repeat: The result is not used (`activation_memory.Part`).
        """
        mixed = self.attn.mix(x_TD, self.attn_norm, context)
        if keep_P is not None:
            mixed, x_TD = mixed.index_select(0, keep_P), x_TD.index_select(0, keep_P)
        (attended,) = project_shared(mixed, (projection_of(self.attn.o, mixed),))
        if self.attn_post_norm is not None:
            attended = self.attn_post_norm(attended)
        x_TD = x_TD + self._scaled(attended)
        if context.activations.repeats_mlp:
            return repeated(self._with_mlp, x_TD, context.activations)
        return self._with_mlp(x_TD, is_repeat=is_repeat)

    def _with_mlp(self, x_TD: Tensor, *, is_repeat: bool = False) -> Tensor:
        if self.mlp_post_norm is None:
            fed: Tensor = self.mlp(x_TD, self.mlp_norm, is_repeat=is_repeat)
            return x_TD + self._scaled(fed)
        # Its backward pass reads what the MLP returns, so a repeated pass computes that too.
        added: Tensor = self.mlp_post_norm(self.mlp(x_TD, self.mlp_norm))
        return x_TD + self._scaled(added)

    def _scaled(self, term_TD: Tensor) -> Tensor:
        """A term times s; `add` with a factor would do both, but LiteRT's converter lacks it."""
        return term_TD if self.residual_scale == 1 else term_TD * self.residual_scale


def _norm(config: ModelConfig, name: str) -> Norm | None:
    """A norm of the block over the model width, if the family has it."""
    has_it = name in config.family.tensors.block
    return build_norm(config, config.hidden_size) if has_it else None
