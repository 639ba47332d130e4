from __future__ import annotations

import json
import random
from typing import Any

import pytest

from vox_populi.hf.word_table import WordTable, word_table
from vox_tensor.token_places import TokenPlaces

tokenizers = pytest.importorskip("tokenizers", reason="needs vox-populi[mens-gpu]")

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
KINDS: dict[str, str | list[tuple[str, dict[str, bool]]]] = {
    "gpt2": [],
    "digits": [("Digits", {"individual_digits": True})],
    "numbers": [("Digits", {"individual_digits": False})],
    "llama3": SPLIT % "{1,3}",
    "qwen2": SPLIT % "",
}
PARTS = (
    *("the", " the", "The", "'s", "'LL", "'d'", "don't", "x1", "12345", " 7", "  ", "   ", "\n"),
    *("\n\n", " \n ", "\r\n", "\t", "\x0b", "\x1c", "\x85", "\xa0", "\u3000", "\u2028", "\u200b"),
    *(
        "é",
        "naïve",
        "e\u0301",
        "東京",
        "👋🏽",
        "\u017f",
        "²",
        "٣",
        "\u2013",
        "\u2026",
        "\ufb01",
        "\u1680",
    ),
    *("(", "):", "==", " _", "_x", "<", "|>", "<|im_start|>", "<|im_end|>", "<think>", " <think>"),
)


def tokenizer_of(kind: str, *, as_text: bool = False) -> Any:
    """A byte-level BPE that learned a few merges, cut into words in one of the usual ways."""
    cut = KINDS[kind]
    pre = tokenizers.pre_tokenizers
    if isinstance(cut, str):
        steps = [pre.Split(tokenizers.Regex(cut), "isolated")]
    else:
        steps = [getattr(pre, name)(**options) for name, options in cut]
    bytes_ = pre.ByteLevel(add_prefix_space=False, use_regex=not isinstance(cut, str))
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = pre.Sequence([*steps, bytes_]) if steps else bytes_
    if kind == "qwen2":
        tokenizer.normalizer = tokenizers.normalizers.NFC()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([" ".join(PARTS)] * 3, trainer)
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([tokenizers.AddedToken("<think>", normalized=False)])
    tokenizer.encode_special_tokens = as_text
    return tokenizer


def table_of(tokenizer: Any) -> WordTable:
    table = word_table(json.loads(tokenizer.to_str()), tokenizer)
    assert table is not None
    return table


def random_texts(count: int) -> list[str]:
    draw = random.Random(5)
    return ["".join(draw.choices(PARTS, k=draw.randrange(12))) for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_table_gives_the_librarys_ids_and_places(kind: str) -> None:
    tokenizer = tokenizer_of(kind)
    definition = json.loads(tokenizer.to_str())
    last = definition["pre_tokenizer"]
    (last["pretokenizers"][-1] if "pretokenizers" in last else last)["trim_offsets"] = False
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(definition))
    table = table_of(tokenizer)
    for text in random_texts(1500):
        expected = tokenizer.encode(text, add_special_tokens=False)
        placed = table.placed(text)
        assert placed is not None
        assert placed[0] == expected.ids == table.encode(text)
        assert list(placed[1]) == expected.offsets


@pytest.mark.parametrize("kind", KINDS)
def test_control_tokens_taken_as_text_are_left_to_the_library(kind: str) -> None:
    tokenizer = tokenizer_of(kind, as_text=True)
    table = table_of(tokenizer)
    n_left = 0
    for text in random_texts(300):
        ids = table.encode(text)
        n_left += ids is None
        assert ids in (None, tokenizer.encode(text, add_special_tokens=False).ids)
        assert (ids is None) is ("<|im_start|>" in text or "<|im_end|>" in text)
    assert 0 < n_left < 300


def test_the_tokens_of_a_span_are_those_that_share_a_character() -> None:
    tokenizer = tokenizer_of("gpt2")
    table = table_of(tokenizer)
    for text in ("the naïve don't 東京 x", "<|im_start|>the the<|im_end|>"):
        placed = table.placed(text)
        assert placed is not None
        places = placed[1]
        assert isinstance(places, TokenPlaces)
        for start in range(len(text) + 1):
            for end in range(start, len(text) + 2):
                inside = [i for i, (a, b) in enumerate(places) if a < end and b > start and a < b]
                expected = (inside[0], inside[-1] + 1) if inside and start < end else (0, 0)
                assert places.tokens_of((start, end)) == expected, (text, start, end)


def test_a_full_table_starts_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vox_populi.hf.word_table._MOST_WORDS", 5)
    tokenizer = tokenizer_of("gpt2")
    table = table_of(tokenizer)
    for text in random_texts(50):
        assert table.encode(text) == tokenizer.encode(text, add_special_tokens=False).ids


def test_a_tokenizer_that_cuts_in_another_way_has_no_table() -> None:
    def refused(**changes: object) -> bool:
        tokenizer = tokenizer_of("llama3")
        definition = {**json.loads(tokenizer.to_str()), **changes}
        return word_table(definition, tokenizer) is None

    assert not refused()
    assert refused(pre_tokenizer=None)
    assert refused(pre_tokenizer={"type": "Metaspace"})
    assert refused(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True})
    assert refused(normalizer={"type": "Lowercase"})
    assert refused(model={"type": "BPE", "dropout": 0.1})
    # It says that it cuts like GPT-2, but does not.
    assert refused(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": False})


def test_tokens_that_swallow_blanks_are_left_to_the_library() -> None:
    tokenizer = tokenizer_of("gpt2")
    tokenizer.add_tokens([tokenizers.AddedToken("<end>", rstrip=True)])
    assert word_table(json.loads(tokenizer.to_str()), tokenizer) is None
