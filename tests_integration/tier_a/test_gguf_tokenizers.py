"""Tier A: tokenizers made of GGUF metadata give the ids that transformers reads from the file."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer
from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

from packages.vox_populi.tests.gguf_files import Number, gguf_bytes
from packages.vox_populi.tests.sentencepiece_files import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    USER_DEFINED,
    Piece,
    llama_pieces,
    sentencepiece_bytes,
)
from tests_integration.tiny_models import write_tiny_tokenizer
from vox_populi.containers.gguf_header import read_gguf_header
from vox_populi.hf.gguf_fields import GgufFields
from vox_populi.hf.gguf_pre_tokenizers import PRE_TOKENIZERS
from vox_populi.hf.gguf_tokenizer import gguf_tokenizer

WORDS = (
    *("def add(a, b):", "don't", "I'LL", "HELLO", "camelCase", "naïve", "café", "東京", "👋🏽"),
    *("12345", "3.14", "return", "x_y", "a/b", "...", "!?", "-->", "\n", "\r\n", "\n\n  ", "\t"),
    *("<|im_start|>user", "<|im_end|>", "the", "The", " ", "  ", "   ", "ß", "Ⅷ"),
)


def battery(seed: int) -> list[str]:
    """Texts that do not start with a space, on which readers of SentencePiece files differ."""
    source = random.Random(seed)
    texts = [" ".join(source.choices(WORDS, k=source.randint(1, 12))) for _ in range(200)]
    return [*texts, "", *("".join(source.choices(WORDS, k=6)).lstrip() for _ in range(200))]


def both(folder: Path, metadata: dict[str, object]) -> tuple[Tokenizer, Any]:
    # Beside a tokenizer.json transformers would read that.
    folder = folder / "gguf"
    folder.mkdir()
    path = folder / "m.gguf"
    path.write_bytes(gguf_bytes({"general.architecture": "llama", **metadata}))
    made = gguf_tokenizer(GgufFields(read_gguf_header(path)))
    theirs: Any = AutoTokenizer.from_pretrained(folder, gguf_file=path.name)
    return Tokenizer.from_str(json.dumps(made.definition)), theirs


def kinds(numbers: list[int]) -> list[Number]:
    return [Number("i32", number) for number in numbers]


SHARED = sorted(PRE_TOKENIZERS.keys() & GGUF_PRE_TOKENIZER_SPLITS.keys())


@pytest.mark.parametrize("pre", ["gpt-2", *SHARED])
def test_byte_level_ids_are_those_of_transformers(pre: str, tmp_path: Path) -> None:
    assert len(SHARED) > 12
    model = json.loads(write_tiny_tokenizer(tmp_path).to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    ours, theirs = both(
        tmp_path,
        {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.pre": pre,
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": kinds([CONTROL] * 3 + [NORMAL] * (len(tokens) - 3)),
            "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.ggml.add_bos_token": False,
        },
    )
    lengths = set()
    for text in battery(7):
        ids = ours.encode(text).ids
        assert ids == theirs.encode(text, add_special_tokens=False), text
        lengths.add(len(ids))
    assert max(lengths) > 20


def test_sentencepiece_ids_are_those_of_transformers(tmp_path: Path) -> None:
    source = random.Random(3)
    pieces: dict[str, float] = {}
    known = [word for word in WORDS if not word.startswith("<") and max(word) < "\U00010000"]
    for text in (f"▁{word}".replace(" ", "▁") for word in known):
        for start in range(len(text)):
            for end in range(start + 1, min(len(text), start + 6) + 1):
                pieces.setdefault(text[start:end], round(-source.uniform(1, 20), 3))
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    ours, theirs = both(
        tmp_path,
        {
            "tokenizer.ggml.model": "llama",
            "tokenizer.ggml.tokens": [*tokens, "<|im_start|>", "<|im_end|>"],
            "tokenizer.ggml.scores": [0.0] * 259 + [*pieces.values()] + [-1000.0, -1000.0],
            "tokenizer.ggml.token_type": kinds(
                [UNKNOWN, *[CONTROL] * 2, *[BYTE] * 256, *[NORMAL] * len(pieces), *[CONTROL] * 2]
            ),
            "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2,
        },
    )
    n_bytes = 0
    for text in battery(11):
        # After a control token llama.cpp puts a space in front again, and transformers does not.
        plain = text.replace("<|im_start|>", "").replace("<|im_end|>", "").lstrip()
        ids = ours.encode(plain).ids
        assert ids == theirs.encode(plain), plain
        assert ids[0] == 1
        n_bytes += sum(3 <= number < 259 for number in ids)
    assert n_bytes > 0
    assert ours.encode("<|im_start|>a").ids == [1, len(tokens), *ours.encode("a").ids[1:]]


def gemma_pieces() -> list[Piece]:
    """Gemma's kind: runs of blanks and line ends are found whole, and so are the turns."""
    parts = llama_pieces([word for word in WORDS if word.strip() and max(word) < "\U00010000"])
    controls = [("<pad>", 0.0, CONTROL), ("<eos>", 0.0, CONTROL), ("<bos>", 0.0, CONTROL)]
    turns = [("<start_of_turn>", 0.0, CONTROL), ("<end_of_turn>", 0.0, CONTROL)]
    runs = [(letter * n, 0.0, USER_DEFINED) for letter in "\n▁" for n in range(2, 6)]
    blank = ("▁", -1000.0, NORMAL)
    rest = [each for each in parts[3:] if each[0] != "▁"]
    return [*controls, ("<unk>", 0.0, UNKNOWN), *turns, *runs, *rest, blank]


@pytest.mark.parametrize("space", [" ", "▁"])
def test_gemma_ids_are_those_of_sentencepiece(space: str, tmp_path: Path) -> None:
    library: Any = pytest.importorskip("sentencepiece", reason="needs sentencepiece")
    pieces = gemma_pieces()
    data = sentencepiece_bytes(pieces, dummy_prefix=False)
    theirs = library.SentencePieceProcessor(model_proto=data)
    # As llama.cpp's converter writes pieces that are found whole; older ones kept the sign.
    tokens = [
        text.replace("▁", space) if kind == USER_DEFINED else text for text, _, kind in pieces
    ]
    path = tmp_path / "m.gguf"
    metadata: dict[str, object] = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [score for _, score, _ in pieces],
        "tokenizer.ggml.token_type": kinds([kind for _, _, kind in pieces]),
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.unknown_token_id": 3,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_space_prefix": False,
    }
    path.write_bytes(gguf_bytes({"general.architecture": "gemma2", **metadata}))
    made = gguf_tokenizer(GgufFields(read_gguf_header(path)))
    ours = Tokenizer.from_str(json.dumps(made.definition))
    lengths = set()
    for text in (*battery(11), "  two in front", "\n\nlines", "a    b\n\n\n     c", "the  def "):
        plain = text.replace("<|im_start|>", "").replace("<|im_end|>", "")
        ids = ours.encode(plain).ids
        assert ids == [2, *theirs.encode(plain)], plain
        assert ours.decode(ids) == plain
        lengths.add(len(ids))
    assert max(lengths) > 20
    turn = "<start_of_turn>user\nthe<end_of_turn>\n<start_of_turn>model\n"
    assert [each for each in ours.encode(turn).ids if each < 6] == [2, 4, 5, 4]
    assert made.settings["bos_token"] == "<bos>"
    assert made.settings["eos_token"] == "<eos>"
