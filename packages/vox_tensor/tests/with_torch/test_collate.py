"""Windows as tensors: shifting, positions, borders."""

from __future__ import annotations

import pytest

from vox_tensor.collate import collate_continuation, collate_window
from vox_tensor.records import IGNORE_INDEX, EncodedRow

X = IGNORE_INDEX


def test_rows_lie_end_to_end_with_restarting_positions_and_shifted_targets() -> None:
    batch = collate_window(
        [EncodedRow((7, 8, 9), (X, 8, 9), line=3), EncodedRow((5, 6), (X, 6), line=1)]
    )
    assert batch.ids_T.tolist() == [7, 8, 9, 5, 6]
    assert batch.positions_T.tolist() == [0, 1, 2, 0, 1]
    assert batch.offsets == (0, 3, 5)
    assert batch.supervised_P.tolist() == [0, 1, 3]
    assert batch.targets_P.tolist() == [8, 9, 6]
    assert (batch.n_tokens, batch.n_supervised, batch.rows) == (5, 3, (3, 1))


def test_a_label_at_the_first_token_is_never_learned() -> None:
    row = EncodedRow((7, 8), (7, X))
    assert collate_window([row]).n_supervised == row.n_supervised == 0


def test_a_continuation_counts_on_and_supervises_nothing() -> None:
    batch = collate_continuation((7, 8), 5)
    assert batch.ids_T.tolist() == [7, 8]
    assert batch.positions_T.tolist() == [5, 6]
    assert (batch.offsets, batch.n_supervised) == ((0, 2), 0)


def test_no_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        collate_window([])


def test_every_supervised_position_has_the_weight_of_its_row() -> None:
    heavy = EncodedRow((7, 8, 9), (X, 8, 9), weight=2.5)
    plain = EncodedRow((5, 6), (X, 6))
    weights_P = collate_window([heavy, plain]).weights_P
    assert weights_P is not None
    assert weights_P.tolist() == [2.5, 2.5, 1.0]
    assert collate_window([plain, plain]).weights_P is None
