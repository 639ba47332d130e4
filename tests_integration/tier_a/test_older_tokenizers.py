"""Tier A: converted tokenizers give the ids of SentencePiece and of the classes of transformers."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlamaTokenizer
from transformers.tokenization_utils_base import generate_merges

from packages.vox_populi.tests.sentencepiece_files import (
    NORMAL,
    llama_pieces,
    sentencepiece_bytes,
)
from tests_integration.tier_a.test_gguf_tokenizers import WORDS, battery
from tests_integration.tiny_models import write_tiny_tokenizer
from vox_populi.errors import ModelError
from vox_populi.hf.older_tokenizers import convert_older_tokenizer


def converted(folder: Path) -> Tokenizer:
    return Tokenizer.from_str(json.dumps(convert_older_tokenizer(folder).definition))


def write_settings(folder: Path, **settings: Any) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def spaced(seed: int) -> list[str]:
    """Texts with spaces anywhere, also in front."""
    source = random.Random(seed)
    return [" " * source.randint(0, 3) + text + " " * source.randint(0, 2) for text in battery(5)]


KNOWN = [word for word in WORDS if word.strip() and max(word) < "\U00010000"]


@pytest.mark.parametrize("dummy_prefix", [True, False])
def test_ids_are_those_of_sentencepiece(dummy_prefix: bool, tmp_path: Path) -> None:
    library: Any = pytest.importorskip("sentencepiece", reason="needs sentencepiece")
    data = sentencepiece_bytes(llama_pieces(KNOWN), dummy_prefix=dummy_prefix)
    (tmp_path / "tokenizer.model").write_bytes(data)
    theirs = library.SentencePieceProcessor(model_proto=data)
    ours = converted(tmp_path)
    longest = 0
    for text in spaced(2):
        ids = ours.encode(text, add_special_tokens=False).ids
        assert ids == theirs.encode(text), text
        assert ours.decode(ids) == theirs.decode(ids)
        longest = max(longest, len(ids))
    assert longest > 20
    assert ours.encode("def").ids[0] == 1


def test_a_folder_that_is_not_legacy_puts_one_space_in_front(tmp_path: Path) -> None:
    pieces = llama_pieces(KNOWN)
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_bytes(pieces))
    write_settings(tmp_path, legacy=False, bos_token="<s>", eos_token="</s>")
    ids = {text: number for number, (text, _, _) in enumerate(pieces)}
    made = {text: score for text, score, kind in pieces if kind == NORMAL}
    theirs = LlamaTokenizer(vocab=ids, merges=generate_merges(ids, made))
    ours, n_other = converted(tmp_path), 0
    write_settings(tmp_path, legacy=True)
    legacy = converted(tmp_path)
    for text in spaced(9):
        plain = text.replace("<|im_start|>", "").replace("<|im_end|>", "")
        expected = theirs.encode(plain, add_special_tokens=False)
        assert ours.encode(plain, add_special_tokens=False).ids == expected, plain
        n_other += legacy.encode(plain, add_special_tokens=False).ids != expected
    assert n_other > 0


@pytest.mark.parametrize("name", ["GPT2Tokenizer", "Qwen2Tokenizer"])
def test_ids_are_those_of_transformers_class(name: str, tmp_path: Path) -> None:
    model = json.loads(write_tiny_tokenizer(tmp_path / "t").to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in model["merges"]), ""])
    (tmp_path / "merges.txt").write_text(merges, encoding="utf-8")
    decoder = {
        str(number): {"content": token, "special": True, "normalized": False}
        for token, number in model["vocab"].items()
        if token.startswith("<|")
    }
    names = {"bos_token": "<|endoftext|>", "eos_token": "<|im_end|>", "unk_token": "<|endoftext|>"}
    write_settings(tmp_path, tokenizer_class=name, added_tokens_decoder=decoder, **names)
    theirs: Any = AutoTokenizer.from_pretrained(tmp_path)
    ours = converted(tmp_path)
    assert len(decoder) == 3
    for text in spaced(4):
        assert ours.encode(text).ids == theirs.encode(text, add_special_tokens=False), text


def test_added_tokens_keep_their_ids(tmp_path: Path) -> None:
    pieces = llama_pieces(KNOWN)
    (tmp_path / "tokenizer.model").write_bytes(sentencepiece_bytes(pieces))
    (tmp_path / "added_tokens.json").write_text(
        json.dumps({"<|im_start|>": len(pieces), "<|im_end|>": len(pieces) + 1}), encoding="utf-8"
    )
    write_settings(tmp_path, eos_token="<|im_end|>")
    ids = converted(tmp_path).encode("<|im_start|>def<|im_end|>").ids
    assert (ids[0], ids[1], ids[-1]) == (1, len(pieces), len(pieces) + 1)


def test_what_would_give_other_ids_is_refused(tmp_path: Path) -> None:
    pieces = llama_pieces(["a b"])
    twice = [*pieces, pieces[-1]]
    for data in (
        sentencepiece_bytes(pieces, model_type=1),
        sentencepiece_bytes(pieces, extra_spaces=True),
        sentencepiece_bytes(pieces, charsmap=b"\x01\x02"),
        sentencepiece_bytes(twice),
        sentencepiece_bytes([("a" * 5000, 0.0, NORMAL)]),
    ):
        (tmp_path / "tokenizer.model").write_bytes(data)
        with pytest.raises(ModelError) as caught:
            convert_older_tokenizer(tmp_path)
        assert [problem.code for problem in caught.value.problems] == ["MENS-H152"]


@pytest.mark.parametrize(
    ("vocabulary", "settings"),
    [
        ({"a": 0}, {}),
        ({"a": 0}, {"tokenizer_class": "BertTokenizer"}),
        ({"a": 0}, {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}),
        ({"a": 0, "b": 0}, {"tokenizer_class": "GPT2Tokenizer"}),
        ({"a": "0"}, {"tokenizer_class": "GPT2Tokenizer"}),
        ({}, {"tokenizer_class": "GPT2Tokenizer"}),
    ],
)
def test_a_vocabulary_that_does_not_say_how_it_splits_is_refused(
    vocabulary: dict[str, Any], settings: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (tmp_path / "merges.txt").write_text("", encoding="utf-8")
    write_settings(tmp_path, **settings)
    with pytest.raises(ModelError) as caught:
        convert_older_tokenizer(tmp_path)
    assert [problem.code for problem in caught.value.problems] == ["MENS-H152"]
