"""Files of rows, and tokenizers that a test can read in one glance."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import settings

# Property tests draw the same examples on every machine and keep nothing between runs.
settings.register_profile("reproducible", derandomize=True, database=None, deadline=None)
settings.load_profile("reproducible")

RowWriter = Callable[..., Path]


class LetterTokenizer:
    """One id per byte, and no control token but the end of a text, if any."""

    vocab_size = 257
    digest = "sha256:letters"

    def __init__(self, eos_id: int | None = 256) -> None:
        self.eos_id = eos_id

    def encode(self, text: str) -> list[int]:
        return list(text.encode("utf-8"))

    def decode(self, ids: Sequence[int]) -> str:
        return bytes(i for i in ids if i < 256).decode("utf-8")

    def control_id(self, token: str) -> int | None:
        return None


@pytest.fixture
def letters() -> LetterTokenizer:
    """A tokenizer without `<|im_start|>` and `<|im_end|>`, with an end token."""
    return LetterTokenizer()


@pytest.fixture
def letters_without_end() -> LetterTokenizer:
    """A tokenizer without any control token."""
    return LetterTokenizer(eos_id=None)


@pytest.fixture
def write_rows(tmp_path: Path) -> RowWriter:
    """Write rows, given as objects or as ready lines, to `train.jsonl`; return its path."""

    def write(*rows: Mapping[str, object] | str, name: str = "train.jsonl") -> Path:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")
        return path

    return write
