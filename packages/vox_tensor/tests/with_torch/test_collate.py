"""Windows as tensors: shifting, positions, borders."""

from __future__ import annotations

import pytest

from vox_tensor.collate import (
    PackedBatch,
    collate_continuation,
    collate_forest,
    collate_window,
)
from vox_tensor.flash_forest import Branch
from vox_tensor.prefix_forest import SharingRule, pack_shared
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


PROMPT = tuple(range(10, 14))


def forest_of(rows: list[EncodedRow]) -> PackedBatch:
    (window,) = pack_shared([row.ids for row in rows], 100, SharingRule(1, 1, 0.0))
    return collate_forest(window, rows)


def test_answers_to_one_prompt_are_laid_behind_it() -> None:
    one = EncodedRow((*PROMPT, 90, 91), (X, X, X, X, 90, 91), line=4)
    other = EncodedRow((*PROMPT, 92), (X, X, X, X, 92), line=7)
    batch = forest_of([one, other])
    assert batch.ids_T.tolist() == [*PROMPT, 90, 91, 92]
    assert batch.positions_T.tolist() == [0, 1, 2, 3, 4, 5, 4]
    assert (batch.offsets, batch.branches) == ((0, 4, 6, 7), (Branch(0, 4, 7),))
    # The prompt's last token predicts both answers.
    assert batch.supervised_P.tolist() == [3, 3, 4]
    assert batch.targets_P.tolist() == [90, 92, 91]
    assert (batch.weights_P, batch.rows) == (None, (4, 4, 7))


def test_a_token_learned_in_several_rows_has_the_sum_of_their_weights() -> None:
    short = EncodedRow((1, 2, 3), (X, 2, 3), weight=0.5)
    long = EncodedRow((1, 2, 3, 4), (X, X, 3, 4), weight=2.0)
    batch = forest_of([short, long, short])
    assert (batch.ids_T.tolist(), batch.branches) == ([1, 2, 3, 4], ())
    assert batch.supervised_P.tolist() == [0, 1, 2]
    assert batch.targets_P.tolist() == [2, 3, 4]
    assert batch.weights_P is not None
    assert batch.weights_P.tolist() == [1.0, 3.0, 2.0]


def test_segments_below_segments_branch_twice() -> None:
    rows = [EncodedRow((*head, end), (X, X, X, X, end)) for head, end in TWICE]
    batch = forest_of(rows)
    assert batch.ids_T.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert batch.branches == (Branch(0, 2, 9), Branch(2, 4, 6))
    assert batch.supervised_P.tolist() == [3, 3, 7]
    assert batch.targets_P.tolist() == [5, 6, 9]


TWICE = [((1, 2, 3, 4), 5), ((1, 2, 3, 4), 6), ((1, 2, 7, 8), 9)]
