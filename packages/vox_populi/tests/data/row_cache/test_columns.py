from __future__ import annotations

import random

import pytest

from vox_populi.data.row_cache.columns import PartColumns, decoded, id_type
from vox_tensor.records import IGNORE_INDEX, EncodedRow


@pytest.mark.parametrize("vocab_size", [2**16, 2**16 + 1])
def test_ids_and_labels_come_back_as_they_were(vocab_size: int) -> None:
    draw = random.Random(3)
    code = id_type(vocab_size)
    columns, rows, start = PartColumns(code), [], 0
    for _ in range(300):
        ids = tuple(draw.choices((0, 156, 65535, vocab_size - 1), k=draw.randrange(1, 9)))
        labels = tuple(i if draw.random() < 0.5 else IGNORE_INDEX for i in ids)
        rows.append(EncodedRow(ids, labels, 1))
        columns.append(rows[-1], 0)
    for row, end in zip(rows, columns.columns["ends.u64"], strict=True):
        data = bytes(columns.tokens[start:end])
        assert decoded(data, len(row), code) == (row.ids, row.labels)
        start = end


def test_small_vocabularies_take_two_bytes_an_id() -> None:
    assert [id_type(size) for size in (2**16, 2**16 + 1)] == ["H", "I"]
