"""Reading a SentencePiece file (`tokenizer.model`): its pieces and what it does to spaces.

The file is a protocol buffer of which six fields matter here, so it is read without a library.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vox_populi.errors import ModelError
from vox_populi.files.model_file import read_model_file
from vox_populi.hf.token_table import TokenKind
from vox_populi.operator_messages import tokenizer as say

_MAX_BYTES = 64 * 2**20
_BPE = 2
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_TEXT, _SCORE, _KIND = 1, 2, 3
_MODEL_TYPE, _SUFFIX = 3, 24
_CHARSMAP, _DUMMY_PREFIX, _EXTRA_SPACES, _ESCAPES = 2, 3, 4, 5

_Value = int | bytes


@dataclass(frozen=True, slots=True)
class Piece:
    """A token, how good it is, and its type."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SentencePieceModel:
    """What decides which ids come out."""

    pieces: tuple[Piece, ...]
    """Sorted by id."""
    is_bpe: bool
    adds_space: bool
    """Whether a space is put in front of a text."""
    changes_text: bool
    """Whether text is normalised, or its spaces are cut or moved."""


class _BrokenError(Exception):
    """The bytes are no protocol buffer of this kind."""


def read_sentencepiece_model(path: Path) -> SentencePieceModel:
    """Read a SentencePiece file.

    Raises:
        ModelError: When it cannot be read, is larger than 64 MiB, or is not such a file.
    """
    data = read_model_file(path, _MAX_BYTES)
    try:
        return _model(memoryview(data))
    except (_BrokenError, UnicodeDecodeError, struct.error):
        raise ModelError(say.SENTENCEPIECE_BROKEN.at(str(path))) from None


def _model(data: memoryview) -> SentencePieceModel:
    pieces: list[Piece] = []
    trainer: dict[int, _Value] = {}
    normalizer: dict[int, _Value] = {}
    for number, value in _fields(data):
        if number == _PIECES:
            pieces.append(_piece(_bytes(value)))
        elif number == _TRAINER:
            trainer |= dict(_fields(memoryview(_bytes(value))))
        elif number == _NORMALIZER:
            normalizer |= dict(_fields(memoryview(_bytes(value))))
    if not pieces:
        raise _BrokenError
    # Absent fields have the format's defaults: spaces are added, cut and escaped.
    cuts, escapes = normalizer.get(_EXTRA_SPACES, 1), normalizer.get(_ESCAPES, 1)
    is_moved = bool(normalizer.get(_CHARSMAP)) or bool(trainer.get(_SUFFIX)) or not escapes
    return SentencePieceModel(
        pieces=tuple(pieces),
        is_bpe=trainer.get(_MODEL_TYPE, 1) == _BPE,
        adds_space=bool(normalizer.get(_DUMMY_PREFIX, 1)),
        changes_text=bool(cuts) or is_moved,
    )


def _piece(data: bytes) -> Piece:
    found = dict(_fields(memoryview(data)))
    score = found.get(_SCORE, bytes(4))
    kind = found.get(_KIND, TokenKind.NORMAL)
    if not isinstance(kind, int):
        raise _BrokenError
    text = _bytes(found.get(_TEXT, b"")).decode("utf-8")
    return Piece(text, struct.unpack("<f", _bytes(score))[0], kind)


def _bytes(value: _Value) -> bytes:
    if isinstance(value, int):
        raise _BrokenError
    return value


def _fields(data: memoryview) -> Iterator[tuple[int, _Value]]:
    """The fields of a message: whole numbers, and bytes of everything else."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == 0:
            value, position = _varint(data, position)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, position = _varint(data, position)
        else:
            size = {1: 8, 5: 4}.get(kind, -1)
        if not 0 <= size <= len(data) - position:
            raise _BrokenError
        yield tag >> 3, bytes(data[position : position + size])
        position += size


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise _BrokenError
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _BrokenError
