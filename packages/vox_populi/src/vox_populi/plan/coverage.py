"""How much of a base's parameters an adapter reaches, by role. No torch here.

Adapters that leave out most of a mixture without saying so are a known failure of other programs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from vox_populi.hf.keymap import AdapterModule, adapter_modules, tensor_keys
from vox_populi.hf.model_config import ModelConfig
from vox_populi.plan.expert_memory import share_of_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What of a mixture of experts is adapted."""

    total: int
    """Values of the base; a tied head counts once."""
    active: int
    """Values that a token is computed with."""
    by_role: tuple[tuple[str, int], ...]
    """Values of the adapted layers of each role; a role of experts is `experts.gate`."""
    expert_layers: int
    """Experts' projections in the base, over all layers."""
    adapted_expert_layers: int

    @property
    def adapted(self) -> int:
        """Values of all adapted layers."""
        return sum(values for _, values in self.by_role)

    def values(self) -> dict[str, object]:
        """The same as JSON values."""
        return {
            "active_parameters": self.active,
            "adapted_parameters": self.adapted,
            "adapted_share": round(self.adapted / self.total, 6),
            "by_role": dict(self.by_role),
            "expert_projections": self.expert_layers,
            "adapted_expert_projections": self.adapted_expert_layers,
            "router": "frozen",
        }

    def as_text(self) -> str:
        """One line for the table of a plan."""
        parts = ", ".join(f"{role} {values:,}" for role, values in self.by_role)
        return (
            f"{100 * self.adapted / self.total:.1f} % of all parameters ({parts});"
            f" {self.adapted_expert_layers} of {self.expert_layers} experts' projections;"
            " the router stays frozen"
        )


def coverage_of(config: ModelConfig, adapted: Sequence[AdapterModule]) -> Coverage | None:
    """The coverage of a mixture of experts; `None` for any other model."""
    if config.experts is None:
        return None
    in_experts = {module.ours for module in adapter_modules(config) if module.in_expert}
    total, of_experts = 0, 0
    for key in tensor_keys(config):
        if key.required:
            total += prod(key.shape)
            is_expert = key.ours.removesuffix(".weight") in in_experts
            of_experts += prod(key.shape) if is_expert else 0
    by_role: dict[str, int] = {}
    for module in adapted:
        role = "+".join(module.roles)
        name = f"experts.{role}" if module.in_expert else role
        by_role[name] = by_role.get(name, 0) + module.in_features * module.out_features
    return Coverage(
        total=total,
        active=total - of_experts + round(of_experts * share_of_tokens(config)),
        by_role=tuple(by_role.items()),
        expert_layers=len(in_experts),
        adapted_expert_layers=sum(module.in_expert for module in adapted),
    )
