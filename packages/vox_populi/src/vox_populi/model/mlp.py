"""The feed-forward part of a block: SwiGLU in families with a gate, plain in the others.

Shape letters: T tokens, D model width, F MLP width.
"""

from __future__ import annotations

from torch import Tensor, nn

from vox_populi.hf.model_config import ModelConfig
from vox_populi.model.norm import Norm
from vox_populi.model.normed_projection import normed_project
from vox_tensor.gated_mlp import ActivationKind, activated_down
from vox_tensor.lora import projection_of


class Mlp(nn.Module):
    """`down(act(gate(x)) * up(x))`, or `down(act(up(x)))` for GPT-2; `[T, D]` to `[T, D]`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.fused, self.gated = config.fused_gate_up, config.gated_mlp
        if self.fused:
            self.gate_up = nn.Linear(width, 2 * inner, bias=bias)
        else:
            if self.gated:
                self.gate = nn.Linear(width, inner, bias=bias)
            self.up = nn.Linear(width, inner, bias=bias)
        self.down = nn.Linear(inner, width, bias=bias)
        self.kind = ActivationKind(config.activation.value)

    def forward(self, x_TD: Tensor, norm: Norm | None, *, is_repeat: bool = False) -> Tensor:
        """Apply the MLP to `norm(x)`, or to `x` without a norm.

        With `is_repeat` the result is not used.
        """
        first_TF, up_TF = self._inner(x_TD, norm)
        down = projection_of(self.down, first_TF)
        return activated_down(first_TF, up_TF, self.kind, down, needs_result=not is_repeat)

    def _inner(self, x_TD: Tensor, norm: Norm | None) -> tuple[Tensor, Tensor | None]:
        """What is activated, and what the result is multiplied with, each `[T, F]`."""
        if self.fused:
            (both,) = normed_project(x_TD, norm, (self.gate_up,))
            first_TF, up_TF = both.chunk(2, dim=-1)
            return first_TF, up_TF
        if self.gated:
            first_TF, up_TF = normed_project(x_TD, norm, (self.gate, self.up))
            return first_TF, up_TF
        (first_TF,) = normed_project(x_TD, norm, (self.up,))
        return first_TF, None
