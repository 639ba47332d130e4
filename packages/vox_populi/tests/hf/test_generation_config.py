"""Stop ids of a model folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vox_populi.errors import ModelError
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.generation_config import GENERATION_CONFIG_NAME, read_stop_ids


def write(folder: Path, value: object) -> Path:
    (folder / GENERATION_CONFIG_NAME).write_text(json.dumps(value), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("value", "expected"),
    [({"eos_token_id": 7}, (7,)), ({"eos_token_id": [7, 3, 7, 99]}, (7, 3)), ({}, ())],
)
def test_one_id_or_a_list_within_the_vocabulary(
    tmp_path: Path, value: object, expected: tuple[int, ...]
) -> None:
    assert read_stop_ids(write(tmp_path, value), 20) == expected


def test_without_the_file_there_are_none(tmp_path: Path) -> None:
    assert read_stop_ids(tmp_path, 20) == ()
    assert len(read_stop_ids(embedded_model_dir(), 4096)) == 2


@pytest.mark.parametrize("value", [{"eos_token_id": "</s>"}, {"eos_token_id": [True]}, []])
def test_stop_ids_that_are_not_ids_are_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(ModelError, match=GENERATION_CONFIG_NAME):
        read_stop_ids(write(tmp_path, value), 20)
