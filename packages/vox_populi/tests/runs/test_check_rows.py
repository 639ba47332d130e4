"""Which rows a run leaves for a merge, and which files of rows are believed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vox_populi.errors import ArtifactError
from vox_populi.runs.check_rows import (
    CHECK_ROWS_FILE,
    MOST_ROWS,
    MOST_TOKENS,
    CheckRows,
    RowOrigin,
    pick_check_rows,
    read_check_rows,
)
from vox_tensor.records import IGNORE_INDEX, EncodedRow

DIGEST = "sha256:33"
VOCAB = 500


def row(prompt: int, answer: int, first: int = 5) -> EncodedRow:
    ids = tuple(first + place % 90 for place in range(prompt + answer))
    return EncodedRow(ids, (IGNORE_INDEX,) * prompt + ids[prompt:])


def picked(*rows: EncodedRow) -> CheckRows:
    return pick_check_rows(rows, RowOrigin.HELD_OUT, DIGEST)


def test_rows_come_from_all_over_the_data() -> None:
    rows = [row(3, 4, first=number) for number in range(400)]
    found = picked(*rows).rows
    assert len(found) == MOST_ROWS
    starts = [each.ids[0] for each in found]
    assert starts == sorted(starts)
    assert starts[0] == 0
    assert starts[-1] > 350
    assert found == picked(*rows).rows


def test_a_long_answer_is_cut_and_its_prompt_is_not() -> None:
    (found,) = picked(row(700, 300)).rows
    assert found.n_supervised == 64
    assert found.ids == row(700, 300).ids[:764]
    assert found.labels[700:] == found.ids[700:]


def test_what_follows_the_last_learned_token_is_dropped() -> None:
    ids = tuple(range(10, 20))
    labels = (*(IGNORE_INDEX,) * 4, *ids[4:6], *(IGNORE_INDEX,) * 4)
    (found,) = picked(EncodedRow(ids, labels)).rows
    assert found.ids == ids[:6]


def test_many_tokens_are_bounded_and_one_row_always_stays() -> None:
    assert picked(*[row(900, 60)] * 32).n_tokens <= MOST_TOKENS
    assert len(picked(row(2 * MOST_TOKENS, 60)).rows) == 1
    assert picked(*[row(900, 60)] * 32).limited(1) == (row(900, 60),)
    assert len(picked(*[row(5, 5)] * 9).limited(25)) == 2


def test_the_file_gives_back_the_rows(tmp_path: Path) -> None:
    ids = tuple(range(10, 22))
    labels = (IGNORE_INDEX, *ids[1:3], IGNORE_INDEX, *ids[4:6], *(IGNORE_INDEX,) * 5, ids[11])
    rows = picked(EncodedRow(ids, labels), row(3, 4))
    path = tmp_path / CHECK_ROWS_FILE
    path.write_text(json.dumps(rows.as_json()), encoding="utf-8")
    assert read_check_rows(path, DIGEST, VOCAB) == rows
    assert [each.n_supervised for each in rows.rows] == [5, 4]


def broken(**changes: Any) -> str:
    return json.dumps({**picked(row(3, 4)).as_json(), **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        broken(schema_version=2),
        broken(schema_version=True),
        broken(contract_digest="sha256:34"),
        broken(origin="elsewhere"),
        broken(rows=[]),
        broken(rows=3),
        broken(rows=picked(row(3, 4)).as_json()["rows"] * 33),  # type: ignore[operator]  # a list
        broken(rows=[3]),
        broken(rows=[{"ids": [1, 2, VOCAB], "learned": [[1, 3]]}]),
        broken(rows=[{"ids": [1, -2, 3], "learned": [[1, 3]]}]),
        broken(rows=[{"ids": [1, 2.0, 3], "learned": [[1, 3]]}]),
        broken(rows=[{"ids": [1, True, 3], "learned": [[1, 3]]}]),
        broken(rows=[{"ids": [1, 2, 3], "learned": [[0, 1]]}]),
        broken(rows=[{"ids": [1, 2, 3], "learned": [[1, 4]]}]),
        broken(rows=[{"ids": [1, 2, 3], "learned": [[1]]}]),
        broken(rows=[{"ids": [1, 2, 3], "learned": []}]),
        broken(rows=[{"ids": [1, 2, 3]}]),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / CHECK_ROWS_FILE
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError) as caught:
        read_check_rows(path, DIGEST, VOCAB)
    assert [problem.code for problem in caught.value.problems] == ["MENS-A087"]
    assert read_check_rows(tmp_path / "absent", DIGEST, VOCAB) is None


def test_what_is_not_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "link"):
        with pytest.raises(ArtifactError, match="MENS-A087"):
            read_check_rows(tmp_path / name, DIGEST, VOCAB)


def test_rows_nearly_like_the_broken_ones_are_read(tmp_path: Path) -> None:
    path = tmp_path / CHECK_ROWS_FILE
    text = broken(rows=[{"ids": [1, 2, VOCAB - 1], "learned": [[1, 3]]}])
    path.write_text(text, encoding="utf-8")
    found = read_check_rows(path, DIGEST, VOCAB)
    assert found is not None
    assert found.rows == (EncodedRow((1, 2, VOCAB - 1), (IGNORE_INDEX, 2, VOCAB - 1)),)
