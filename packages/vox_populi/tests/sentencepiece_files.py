"""SentencePiece files made of plain Python: a protocol buffer of the fields that matter."""

from __future__ import annotations

import struct
from collections.abc import Sequence

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
Piece = tuple[str, float, int]


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def piece_bytes(text: str, score: float, kind: int) -> bytes:
    data = field(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score)
    return field(1, data + field(3, kind))


def sentencepiece_bytes(
    pieces: Sequence[Piece],
    *,
    model_type: int = 2,
    dummy_prefix: bool = True,
    extra_spaces: bool = False,
    charsmap: bytes = b"",
) -> bytes:
    """A whole file; `model_type` 2 is BPE."""
    trainer = field(3, model_type) + field(35, 1)
    normalizer = field(1, b"identity") + field(3, dummy_prefix) + field(4, extra_spaces)
    if charsmap:
        normalizer += field(2, charsmap)
    entries = b"".join(piece_bytes(*piece) for piece in pieces)
    return entries + field(2, trainer) + field(3, normalizer)


def llama_pieces(words: Sequence[str], seed: int = 3) -> list[Piece]:
    """A vocabulary as Llama's: three first, bytes, then what merges make, better ones first."""
    parts: dict[str, None] = {}
    for word in words:
        text = f"▁{word}".replace(" ", "▁")
        for size in range(2, 7):
            for start in range(len(text) - size + 1):
                parts[text[start : start + size]] = None
    made = sorted(parts, key=lambda part: (len(part) * seed % 7, part))
    letters = sorted({letter for part in made for letter in part})
    first: list[Piece] = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    first += [(f"<0x{byte:02X}>", 0.0, BYTE) for byte in range(256)]
    texts = [*made, *letters]
    return [*first, *((text, float(-rank), NORMAL) for rank, text in enumerate(texts))]
