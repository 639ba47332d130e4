"""How several processes share a run. No torch.

The forward passes of a step, and the order in which their gradients are added, follow from the rows
and the settings (`train.addition_tree`); the number of processes only says who computes what.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from vox_populi.contract.choices import ShardChoice
from vox_populi.contract.setting_groups import BatchSettings
from vox_populi.operator_messages import ranks as say


class Equality(StrEnum):
    """In what the adapter equals that of one process, under the names that manifests store."""

    BYTES = "bytes"
    """In every bit, if the processors are of one kind and have the same number of threads."""
    ROUNDING = "rounding"
    """But for the rounding of sums: they are added in a different order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankPlan:
    """The processes of a run."""

    size: int = 1
    equality: Equality = Equality.BYTES
    is_divided: bool = False
    """Whether each holds a part of the base, instead of all of it."""


ALONE = RankPlan()
"""The plan of a run that one process has to itself."""


def plan_ranks(size: int, *, is_divided: bool = False) -> RankPlan:
    """The plan for so many processes: whole subtrees of a binary tree need a power of two."""
    is_power = size & (size - 1) == 0
    equality = Equality.BYTES if is_power else Equality.ROUNDING
    return RankPlan(size=size, equality=equality, is_divided=is_divided)


def is_divided(asked: ShardChoice, size: int, needed: int, available: int | None) -> bool:
    """Whether several processes divide the base among them.

    Args:
        asked: The request.
        size: Number of processes.
        needed: Estimated peak of a process with the whole base.
        available: Memory of a process's device, if known.
    """
    if size == 1 or asked is not ShardChoice.AUTO:
        return size > 1 and asked is ShardChoice.ALWAYS
    return available is not None and needed > available


def rank_values(ranks: RankPlan) -> dict[str, object]:
    """What plans and manifests say of several processes; nothing of one."""
    if ranks.size == 1:
        return {}
    values: dict[str, object] = {
        "world_size": ranks.size,
        "equality": ranks.equality.value,
        "base": "divided" if ranks.is_divided else "whole",
    }
    return {"processes": values}


def rank_notes(
    ranks: RankPlan, batching: BatchSettings, tokens_per_row: float | None
) -> Iterator[str]:
    """What the operator should know: idle processes, and a result that is not the same.

    Args:
        ranks: The processes.
        batching: The settings of a step.
        tokens_per_row: Mean of the rows; `None` where they were not tokenised.
    """
    if ranks.size == 1:
        return
    if ranks.equality is Equality.ROUNDING:
        yield say.note_rounding(ranks.size)
    per_step = batching.rows_per_step * (tokens_per_row or batching.seq_len)
    passes = -(-round(per_step) // batching.window_tokens)
    multiple = batching.micro_batches
    if multiple is not None:
        passes = -(-passes // multiple) * multiple
    passes = min(max(passes, 1), batching.rows_per_step)
    if passes < ranks.size:
        yield say.note_ranks_idle(ranks.size, passes, f"--micro-batches {ranks.size}")
