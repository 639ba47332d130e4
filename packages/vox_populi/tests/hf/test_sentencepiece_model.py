from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packages.vox_populi.tests.sentencepiece_files import (
    CONTROL,
    NORMAL,
    field,
    sentencepiece_bytes,
    varint,
)
from vox_populi.errors import ModelError
from vox_populi.hf.sentencepiece_model import read_sentencepiece_model

SOUND = sentencepiece_bytes([("<s>", 0.0, CONTROL), ("▁a", -1.5, NORMAL)])


def write(folder: Path, data: bytes) -> Path:
    path = folder / "tokenizer.model"
    path.write_bytes(data)
    return path


def test_pieces_and_settings_are_read(tmp_path: Path) -> None:
    model = read_sentencepiece_model(write(tmp_path, SOUND))
    assert [(piece.text, piece.score, piece.kind) for piece in model.pieces] == [
        ("<s>", 0.0, CONTROL),
        ("▁a", -1.5, NORMAL),
    ]
    assert (model.is_bpe, model.adds_space, model.changes_text) == (True, True, False)


def test_absent_fields_have_the_formats_defaults(tmp_path: Path) -> None:
    model = read_sentencepiece_model(write(tmp_path, field(1, field(1, b"a"))))
    assert [(piece.text, piece.score, piece.kind) for piece in model.pieces] == [("a", 0.0, NORMAL)]
    assert (model.is_bpe, model.adds_space, model.changes_text) == (False, True, True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 20,
        SOUND[:-1],
        field(1, 7),
        field(1, field(1, b"\xff\xfe")),
        field(1, field(2, b"ab")),
        field(1, field(3, b"ab")),
        varint(1 << 3 | 2) + varint(2**60),
        varint(1 << 3 | 3),
    ],
)
def test_another_file_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        read_sentencepiece_model(write(tmp_path, data))
    assert [problem.code for problem in caught.value.problems] == ["MENS-H151"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.integers(0, len(SOUND) - 1), new=st.binary(min_size=1, max_size=4))
def test_damaged_bytes_give_a_model_or_one_problem(place: int, new: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, SOUND[:place] + new + SOUND[place + len(new) :])
    codes = ["none"]
    try:
        read_sentencepiece_model(path)
    except ModelError as error:
        codes = [problem.code for problem in error.problems]
    assert codes in (["none"], ["MENS-H151"])
