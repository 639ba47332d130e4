"""The mixture of experts that a `config.json` describes. No torch here.

Shazeer et al. 2017, arXiv 1701.06538; as in Mixtral: Jiang et al. 2024, arXiv 2401.04088.
"""

from __future__ import annotations

from dataclasses import dataclass

from vox_populi.hf.config_fields import ConfigFields
from vox_populi.hf.model_family import ExpertsRule

_MAX_EXPERTS = 65_536
_MAX_WIDTH = 2**24
_MAX_LAYERS = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertsSpec:
    """What the layers that are a mixture have in place of an MLP."""

    count: int
    per_token: int
    """Experts that compute a token."""
    width: int
    """Features inside one expert."""
    is_normalised: bool
    """Whether the weights of a token's experts are scaled to sum to 1."""
    layers: tuple[bool, ...]
    """Which layers are a mixture."""


def parse_experts(
    fields: ConfigFields, rule: ExpertsRule | None, n_layers: int
) -> ExpertsSpec | None:
    """Read the mixture of a config; problems go into `fields`."""
    if rule is None:
        return None
    count = fields.count(*rule.count, default=rule.default_count, maximum=_MAX_EXPERTS)
    per_token = fields.count(rule.per_token, default=rule.default_per_token, maximum=_MAX_EXPERTS)
    if per_token > count and not fields.problems:
        fields.contradiction(rule.per_token, rule.count[0])
    is_normalised = (
        rule.norm if isinstance(rule.norm, bool) else fields.flag(rule.norm, default=False)
    )
    return ExpertsSpec(
        count=count,
        per_token=per_token,
        width=fields.count(rule.width, default=rule.default_width, maximum=_MAX_WIDTH),
        is_normalised=is_normalised,
        layers=_layers(fields, rule, n_layers),
    )


def _layers(fields: ConfigFields, rule: ExpertsRule, n_layers: int) -> tuple[bool, ...]:
    step = 1
    if rule.sparse_step is not None:
        step = fields.count(rule.sparse_step, default=1, maximum=_MAX_LAYERS)
    dense = () if rule.dense_layers is None else fields.layer_numbers(rule.dense_layers)
    return tuple(layer not in dense and (layer + 1) % step == 0 for layer in range(n_layers))
