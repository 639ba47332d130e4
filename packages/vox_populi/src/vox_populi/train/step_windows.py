"""The forward passes of an optimizer step: which rows each of them computes.

They follow from the step's rows and the plan alone, never from the number of processes.
"""

from __future__ import annotations

from collections.abc import Sequence

from vox_populi.train.batches import pack_windows
from vox_tensor.records import EncodedRow
from vox_tensor.spreading import spread_rows


def step_windows(
    rows: Sequence[EncodedRow],
    window_tokens: int,
    multiple: int | None = None,
    *,
    share_prefixes: bool = False,
) -> list[list[EncodedRow]]:
    """The rows of each forward pass.

    Args:
        rows: Of one step, or of a part of an evaluation.
        window_tokens: Most tokens of a forward pass.
        multiple: Spread the rows over a multiple of so many passes; `None` makes as few as can be.
        share_prefixes: Tokens that rows of a pass begin with alike count once; not with `multiple`.
    """
    if multiple is None:
        windows = pack_windows(rows, window_tokens, share_prefixes=share_prefixes)
    else:
        windows = spread_rows([len(row) for row in rows], window_tokens, multiple)
    return [[rows[index] for index in window.rows] for window in windows]
