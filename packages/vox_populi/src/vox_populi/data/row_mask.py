"""What the mask of one row does: which answers end, what a cut removes, how many BOS there are."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import groupby

from vox_populi.data.supervision import last_supervised
from vox_tensor.records import IGNORE_INDEX, EncodedRow

_MOST_BLANKS = 2
"""Tokens of line ends and spaces that some templates write after the end of an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskRules:
    """What a row is held against."""

    seq_len: int | None
    """Largest number of tokens per row; `None` for no limit."""
    ce_last_k: int | None = None
    """Supervised tokens that are kept, from the end of a row; `None` for all."""
    end_ids: Collection[int]
    """Ids that end an answer."""
    bos_id: int | None = None
    """The id that every row begins with, if the base adds one."""


class Finding(StrEnum):
    """What may be wrong with a row that can be trained on, and what is good to know about it."""

    # Counted for many rows; an enum member's own hash is computed in Python.
    __hash__ = str.__hash__

    NO_END = "without_end"
    """Before the cut, an answer is learned without an end."""
    CUT = "cut"
    """It is longer than a sequence."""
    CUT_END = "cut_end"
    """The end of its last answer is cut off."""
    CONTROL_TEXT = "control_text"
    """Text of it spells a control token."""
    WRONG_BOS = "wrong_bos"
    """It has no BOS, or more than one, and the base adds one."""


@dataclass(frozen=True, slots=True)
class RowMask:
    """A row as training uses it, and what was found about it."""

    row: EncodedRow
    n_whole: int
    """Tokens before the cut."""
    findings: frozenset[Finding]

    @property
    def n_learned(self) -> int:
        """Learned tokens; with none, training refuses the row."""
        return self.row.n_supervised


def mask_of(whole: EncodedRow, rules: MaskRules, *, spells_control: bool = False) -> RowMask:
    """Cut a row as training does, and note what is worth counting.

    Args:
        whole: The row before it is cut.
        rules: What it is held against.
        spells_control: Whether its text spells a control token.
    """
    limit = len(whole) if rules.seq_len is None else rules.seq_len
    last = max((i for i, label in enumerate(whole.labels) if label != IGNORE_INDEX), default=-1)
    lacks_end = _lacks_end(whole, rules.end_ids)
    found = {
        Finding.NO_END: lacks_end,
        Finding.CUT: len(whole) > limit,
        Finding.CUT_END: not lacks_end and last >= limit,
        Finding.CONTROL_TEXT: spells_control,
        Finding.WRONG_BOS: rules.bos_id is not None and whole.ids.count(rules.bos_id) != 1,
    }
    row = whole
    if len(whole) > limit:
        row = replace(whole, ids=whole.ids[:limit], labels=whole.labels[:limit])
    if rules.ce_last_k is not None:
        row = last_supervised(row, rules.ce_last_k)
    return RowMask(row, len(whole), frozenset(each for each, is_so in found.items() if is_so))


def _lacks_end(row: EncodedRow, end_ids: Collection[int]) -> bool:
    """Whether any stretch of learned tokens has no end among its last tokens."""
    for is_learned, stretch in groupby(row.labels, lambda label: label != IGNORE_INDEX):
        last = list(stretch)[-1 - _MOST_BLANKS :]
        if is_learned and not any(label in end_ids for label in last):
            return True
    return False
