"""A mixture of experts in place of an MLP: a router, and what the experts it picks compute.

Mixtral: Jiang et al. 2024, arXiv 2401.04088. Shape letters: T tokens, D model width, N experts,
K experts of a token, X width of an expert.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vox_populi.hf.model_config import ModelConfig
from vox_populi.model.norm import Norm
from vox_tensor.expert_activation import GateAndUp
from vox_tensor.expert_mlp import ExpertProjections, Routing, expert_mlp
from vox_tensor.gated_mlp import ActivationKind
from vox_tensor.lora import project_shared, projection_of


class Expert(nn.Module):
    """`down(act(gate(x)) * up(x))` for the tokens that are sent to it."""

    def __init__(self, width: int, inner: int, *, bias: bool) -> None:
        super().__init__()
        self.width, self.inner = width, inner
        self.gate = nn.Linear(width, inner, bias=bias)
        self.up = nn.Linear(width, inner, bias=bias)
        self.down = nn.Linear(inner, width, bias=bias)

    def projections(self, n_tokens: int, like: Tensor) -> ExpertProjections:
        """Its three linear maps for so many tokens; `like` has their device and dtype."""
        # Dropout masks need a shape: without memory of their own.
        sample = like.new_empty(1)
        x_TD = sample.expand(n_tokens, self.width)
        h_TX = sample.expand(n_tokens, self.inner)
        first = (projection_of(self.gate, x_TD), projection_of(self.up, x_TD))
        return ExpertProjections(first, projection_of(self.down, h_TX))


class Experts(nn.Module):
    """The sum over a token's experts of `weight * expert(x)`; `[T, D]` to `[T, D]`.

    The router's arithmetic is that of transformers: scores in the compute dtype, softmax in
    float32, the K largest, scaled to sum to 1 if the config says so. The router is frozen, but
    what it makes of its input has a gradient, as in transformers.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        spec = config.experts
        assert spec is not None, "built for layers that are a mixture"
        width = config.hidden_size
        self.per_token, self.is_normalised = spec.per_token, spec.is_normalised
        self.router = nn.Linear(width, spec.count, bias=False)
        self.experts = nn.ModuleList(
            Expert(width, spec.width, bias=config.mlp_bias) for _ in range(spec.count)
        )
        self.activation = GateAndUp(ActivationKind(config.activation.value))

    def forward(self, x_TD: Tensor, norm: Norm | None, *, is_repeat: bool = False) -> Tensor:
        """Apply the mixture to `norm(x)`, or to `x` without a norm.

        With `is_repeat` the result is not used.
        """
        normed_TD: Tensor = x_TD if norm is None else norm(x_TD)
        weights_TK, chosen_TK = self.route(normed_TD)
        routing = Routing.of(chosen_TK, len(self.experts))
        projections = [
            expert.projections(count, normed_TD)
            for expert, count in zip(self.experts, routing.counts, strict=True)
            if isinstance(expert, Expert)
        ]
        return expert_mlp(
            normed_TD, weights_TK, routing, projections, self.activation, needs_result=not is_repeat
        )

    def route(self, normed_TD: Tensor) -> tuple[Tensor, Tensor]:
        """Weights `[T, K]`, in float32, and numbers `[T, K]` of every token's experts."""
        (scores_TN,) = project_shared(normed_TD, (projection_of(self.router, normed_TD),))
        shares_TN = torch.softmax(scores_TN, dim=-1, dtype=torch.float32)
        weights_TK, chosen_TK = torch.topk(shares_TN, self.per_token, dim=-1)
        if self.is_normalised:
            weights_TK = weights_TK / weights_TK.sum(dim=-1, keepdim=True)
        return weights_TK, chosen_TK
