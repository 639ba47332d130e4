"""The gates of `vox mens preview --check`: which shares of rows and tokens pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from vox_populi.data.mask_tally import MaskCounts
from vox_populi.data.row_gates import Gate, flag_of
from vox_populi.data.row_mask import Finding
from vox_populi.number_ranges import SHARE, require_ranges
from vox_populi.operator_messages import row_checks as say


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskGates:
    """Largest and smallest shares that pass; `None` is not checked."""

    max_refused_share: float | None = 0.0
    """Rows that training refuses."""
    max_no_end_share: float | None = 0.0
    """Rows in which an answer is learned without an end."""
    max_wrong_bos_share: float | None = 0.0
    """Rows without exactly one BOS, where the base adds one."""
    max_cut_share: float | None = 0.05
    """Rows that are longer than a sequence."""
    min_learned_share: float | None = 0.01
    """Learned tokens among all."""
    max_control_share: float | None = None
    """Rows with text that spells a control token."""

    def __post_init__(self) -> None:
        names = (
            *("max_refused_share", "max_no_end_share", "max_wrong_bos_share", "max_cut_share"),
            *("min_learned_share", "max_control_share"),
        )
        flags = ((f"--{name.replace('_', '-')}", getattr(self, name)) for name in names)
        require_ranges(*((flag, value, SHARE) for flag, value in flags))

    def judge(self, total: MaskCounts) -> Iterator[Gate]:
        """Every gate with what was measured, in the order in which they are worth fixing."""
        found = total.findings
        counts = {
            "max_refused_share": total.refused,
            "max_no_end_share": found[Finding.NO_END],
            "max_wrong_bos_share": found[Finding.WRONG_BOS],
            "max_cut_share": found[Finding.CUT],
            "max_control_share": found[Finding.CONTROL_TEXT],
        }
        for name, count in counts.items():
            words, fix = say.ROW_GATES[name]
            yield Gate(
                flag=flag_of(name),
                limit=getattr(self, name),
                value=total.share(count),
                found=say.rows_of(count, total.rows - total.left_out, words),
                fix=fix,
            )
        yield Gate(
            flag=flag_of("min_learned_share"),
            limit=self.min_learned_share,
            value=total.learned_share,
            found=say.tokens_learned(total.learned_tokens, total.tokens),
            fix=say.LEARN_MORE,
            is_floor=True,
        )
