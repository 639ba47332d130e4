"""Byte ranges of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from vox_populi.containers.file_ranges import open_ranges, read_range
from vox_populi.errors import ModelError

DATA = bytes(range(200))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "data"
    file.write_bytes(DATA)
    return file


def test_a_range_is_exactly_those_bytes(path: Path) -> None:
    assert read_range(path, 17, 30) == DATA[17:47]
    assert read_range(path, 200, 0) == b""


@pytest.mark.parametrize("step", [1, 7, 64, 200, 1000])
def test_blocks_are_the_range_in_order(path: Path, step: int) -> None:
    with open_ranges(path) as reader:
        blocks = [bytes(block) for block in reader.blocks(3, 150, step)]
    assert b"".join(blocks) == DATA[3:153]
    assert all(len(block) == step for block in blocks[:-1])


def test_a_file_that_ends_before_is_refused(path: Path) -> None:
    with pytest.raises(ModelError, match=r"MENS-H003.*shorter"):
        read_range(path, 190, 11)


def test_what_is_missing_or_not_a_file_is_refused_by_code(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="MENS-H002"):
        read_range(tmp_path / "absent", 0, 1)
    with pytest.raises(ModelError, match="MENS-H004"):
        read_range(tmp_path, 0, 1)
