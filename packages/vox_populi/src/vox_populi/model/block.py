"""One pre-norm block. Shape letters: T tokens, P kept tokens, D model width."""

from __future__ import annotations

from torch import Tensor, nn

from vox_populi.hf.model_config import ModelConfig
from vox_populi.model.activation_memory import repeated
from vox_populi.model.attention import Attention, PackContext
from vox_populi.model.mlp import Mlp
from vox_populi.model.norm import LayerNorm, Norm, RmsNorm
from vox_tensor.lora import project_shared, projection_of


def build_norm(config: ModelConfig) -> Norm:
    """The family's norm over the model width: LayerNorm for GPT-2, RMSNorm for the others."""
    if config.layer_norm:
        return LayerNorm(config.hidden_size, config.norm_eps)
    return RmsNorm(config.hidden_size, config.norm_eps)


class Block(nn.Module):
    """`x + attention(norm(x))`, then `x + mlp(norm(x))`."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.attn_norm = build_norm(config)
        self.attn = Attention(config, layer)
        self.mlp_norm = build_norm(config)
        self.mlp = Mlp(config)

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
        x_TD = x_TD + attended
        if context.activations.repeats_mlp:
            return repeated(self._with_mlp, x_TD, context.activations)
        return self._with_mlp(x_TD, is_repeat=is_repeat)

    def _with_mlp(self, x_TD: Tensor, *, is_repeat: bool = False) -> Tensor:
        fed: Tensor = self.mlp(x_TD, self.mlp_norm, is_repeat=is_repeat)
        return x_TD + fed
