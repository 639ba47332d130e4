"""Which of several processes this is, by the variables that torchrun sets. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from vox_populi.errors import EnvironmentFailure
from vox_populi.operator_messages import ranks as say

RANK, WORLD_SIZE = "RANK", "WORLD_SIZE"
_LOCAL_RANK, _LOCAL_SIZE = "LOCAL_RANK", "LOCAL_WORLD_SIZE"
_ADDRESS = ("MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True, kw_only=True)
class RankPlace:
    """A process among those of its run."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Its number on this machine."""
    local_size: int = 1
    """Processes on this machine."""
    is_launched: bool = False
    """Whether a launcher started it."""

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes files and prints."""
        return self.rank == 0


ALONE = RankPlace()
"""The only process of a run."""


def rank_place(variables: Mapping[str, str] | None = None) -> RankPlace:
    """This process's place; it is alone where no launcher started it.

    Args:
        variables: The environment, if it is not this process's.

    Raises:
        EnvironmentFailure: When the variables contradict each other.
    """
    env = os.environ if variables is None else variables
    if RANK not in env or WORLD_SIZE not in env:
        return RankPlace()
    rank, size = _number(env, RANK), _number(env, WORLD_SIZE)
    if size < 1 or rank >= size:
        reason = f"{RANK} is {rank} and {WORLD_SIZE} is {size}"
        raise EnvironmentFailure(say.rank_variables_unusable(reason))
    if size == 1:
        return RankPlace(is_launched=True)
    missing = [name for name in _ADDRESS if not env.get(name)]
    if missing:
        reason = f"{' and '.join(missing)} is not set"
        raise EnvironmentFailure(say.rank_variables_unusable(reason))
    return RankPlace(
        rank=rank,
        size=size,
        local_rank=_number(env, _LOCAL_RANK, 0),
        local_size=_number(env, _LOCAL_SIZE, 1),
        is_launched=True,
    )


def _number(env: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = env.get(name, "")
    if not text and default is not None:
        return default
    if not text.isdecimal():
        raise EnvironmentFailure(say.rank_variables_unusable(f"{name} is {text!r}"))
    return int(text)
