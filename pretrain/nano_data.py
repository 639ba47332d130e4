"""Text for pre-training: the standard library's modules, cut into token windows.

Modules are on the train or the held-out side by the hash of their top-level name, the same
rule that `vox mens corpus pairs` uses, so no held-out function is ever seen here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from vox_populi.corpus.stdlib_split import iter_source_modules, read_source
from vox_tensor.records import IGNORE_INDEX, EncodedRow
from vox_tensor.tokenizer import VoxTokenizer


@dataclass(frozen=True, slots=True)
class SourceTexts:
    """Module texts of both sides, in path order."""

    train: tuple[str, ...]
    heldout: tuple[str, ...]


def read_sources(root: Path) -> SourceTexts:
    """Read every module below `root` that parses."""
    sides: dict[bool, list[str]] = {True: [], False: []}
    for module in iter_source_modules(root):
        text = read_source(module.path)
        if text:
            sides[module.heldout].append(text)
    return SourceTexts(tuple(sides[False]), tuple(sides[True]))


def cut_windows(
    texts: Sequence[str], tokenizer: VoxTokenizer, window: int, offset: int = 0
) -> list[EncodedRow]:
    """Cut each text into rows of at most `window` tokens; a text's first row opens with EOS.

    Args:
        texts: Module texts.
        tokenizer: Vocabulary.
        window: Tokens of a row.
        offset: Length of the first row, so that epochs cut at different places; 0 means `window`.
    """
    rows: list[EncodedRow] = []
    for text in texts:
        ids = [tokenizer.eos_id, *tokenizer.encode(text), tokenizer.eos_id]
        rows += (_row(ids[a:b]) for a, b in _borders(len(ids), window, offset) if b - a > 1)
    return rows


def _borders(length: int, window: int, offset: int) -> Iterator[tuple[int, int]]:
    start, end = 0, offset or window
    while start < length:
        yield start, min(end, length)
        # One token overlaps, so that each token after the first is predicted once.
        start, end = end - 1, end - 1 + window


def _row(ids: list[int]) -> EncodedRow:
    return EncodedRow(tuple(ids), (IGNORE_INDEX, *ids[1:]))


def epoch_batches(
    rows: Sequence[EncodedRow], tokens: int, generator: torch.Generator
) -> Iterator[list[EncodedRow]]:
    """Shuffle rows and group them into batches of about `tokens` tokens."""
    batch: list[EncodedRow] = []
    size = 0
    for index in torch.randperm(len(rows), generator=generator).tolist():
        batch.append(rows[index])
        size += len(rows[index])
        if size >= tokens:
            yield batch
            batch, size = [], 0
