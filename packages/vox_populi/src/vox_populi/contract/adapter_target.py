"""Which projections get an adapter, as typed: `all`, `q,v`, `all,lm_head`. No model facts.

The names of PEFT (`q_proj`, `all-linear`), mlx-lm (`self_attn.q_proj`) and torchtune
(`output_proj`) are understood; a request holds and shows ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from vox_populi.errors import ConfigError
from vox_populi.hf.keymap import ProjectionRole
from vox_populi.operator_messages import contract as say


class WholeBlocks(StrEnum):
    """The word for every projection of the blocks, whatever the family has."""

    ALL = "all"


TargetRoles = tuple[WholeBlocks | ProjectionRole, ...]
"""Roles without repetition: `ALL` and possibly the head, or roles in forward order."""


def parse_targets(text: str) -> TargetRoles | None:
    """Read a comma-separated list of roles.

    Order, case and repetition mean nothing: two ways to write one request give one answer, so
    that they have one digest.

    Args:
        text: Roles, or `all`, alone or with `lm_head`; in our words or those of `PEER_TARGETS`.
            Spaces around names are ignored.

    Returns:
        The roles, or `None` for `all` alone, which is the default.

    Raises:
        ConfigError: With one problem per unknown name, or for an empty list.
    """
    typed = [name for part in text.split(",") if (name := part.strip().lower())]
    names = [word for name in typed for word in PEER_TARGETS.get(name.rpartition(".")[2], (name,))]
    if not names:
        raise ConfigError(say.TARGETS_EMPTY)
    unknown = [name for name in dict.fromkeys(names) if name not in TARGET_WORDS]
    if unknown:
        raise ConfigError(*(say.choice_unknown(n, TARGET_WORDS).at("--targets") for n in unknown))
    roles = tuple(role for role in ProjectionRole if role in names)
    if WholeBlocks.ALL not in names:
        return roles
    return (WholeBlocks.ALL, ProjectionRole.LM_HEAD) if ProjectionRole.LM_HEAD in names else None


def targets_as_text(targets: TargetRoles | None) -> str:
    """Text that `parse_targets` reads back."""
    return WholeBlocks.ALL if targets is None else ",".join(targets)


TARGET_WORDS: tuple[str, ...] = (WholeBlocks.ALL, *ProjectionRole)
"""The documented values of `--targets`."""

PEER_TARGETS: Mapping[str, tuple[str, ...]] = {
    **{f"{role}_proj": (role,) for role in ProjectionRole if role is not ProjectionRole.LM_HEAD},
    "output_proj": (ProjectionRole.O,),
    "qkv_proj": (ProjectionRole.Q, ProjectionRole.K, ProjectionRole.V),
    "gate_up_proj": (ProjectionRole.GATE, ProjectionRole.UP),
    "lm_head": (ProjectionRole.LM_HEAD,),
    "all-linear": (WholeBlocks.ALL,),
    "all_linear": (WholeBlocks.ALL,),
}
"""Other programs' names for the same layers, without the path before the last dot."""
