from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from packages.vox_populi.tests.gguf_files import Number, gguf_bytes
from vox_populi.containers.gguf_header import read_gguf_header
from vox_populi.errors import ModelError
from vox_populi.hf.gguf_fields import GgufFields
from vox_populi.hf.gguf_pre_tokenizers import PRE_TOKENIZERS
from vox_populi.hf.gguf_tokenizer import GgufTokenizer, gguf_texts, gguf_tokenizer
from vox_populi.hf.tokenizer_definition import merges_of_scores
from vox_populi.hf.tokenizer_risk import growth_of, needs_trial

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
LETTERS: dict[str, object] = {
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "gpt-2",
    "tokenizer.ggml.tokens": ["a", "b", "ab", "Ġ", "Ġab", "<|end|>", "<think>", "[PAD7]"],
    "tokenizer.ggml.token_type": [
        Number("i32", kind)
        for kind in (NORMAL, NORMAL, NORMAL, NORMAL, NORMAL, CONTROL, USER_DEFINED, UNUSED)
    ],
    "tokenizer.ggml.merges": ["a b", "Ġ ab"],
    "tokenizer.ggml.eos_token_id": 5,
}
PIECES = ["<unk>", "<s>", "</s>", "<0x0A>", "▁", "h", "i", "hi", "▁hi", "▁h", "[INST]"]
SENTENCEPIECE: dict[str, object] = {
    "tokenizer.ggml.model": "llama",
    "tokenizer.ggml.tokens": PIECES,
    "tokenizer.ggml.scores": [0.0, 0.0, 0.0, 0.0, -9.0, -8.0, -8.5, -1.0, -0.5, -2.0, 0.0],
    "tokenizer.ggml.token_type": [
        Number("i32", kind) for kind in (UNKNOWN, CONTROL, CONTROL, BYTE, *[NORMAL] * 6, CONTROL)
    ],
}


def fields_of(folder: Path, base: dict[str, object], **changes: object) -> GgufFields:
    named = {f"tokenizer.ggml.{key}": value for key, value in changes.items()}
    metadata = {key: value for key, value in {**base, **named}.items() if value is not None}
    path = folder / "m.gguf"
    path.write_bytes(gguf_bytes(metadata))
    return GgufFields(read_gguf_header(path))


def made(folder: Path, base: dict[str, object], **changes: object) -> GgufTokenizer:
    return gguf_tokenizer(fields_of(folder, base, **changes))


def loaded(tokenizer: GgufTokenizer) -> Any:
    library = pytest.importorskip("tokenizers", reason="needs vox-populi[mens-gpu]")
    return library.Tokenizer.from_str(json.dumps(tokenizer.definition))


def test_byte_level_tokens_keep_their_ids(tmp_path: Path) -> None:
    tokenizer = loaded(made(tmp_path, LETTERS))
    assert tokenizer.encode("ab ab<|end|>a").ids == [2, 4, 5, 0]
    assert tokenizer.encode("<think>b").ids == [6, 1]
    assert tokenizer.get_vocab_size() == 7
    assert tokenizer.decode([2, 4, 5, 0]) == "ab aba"


def test_control_tokens_amid_the_vocabulary_keep_their_ids(tmp_path: Path) -> None:
    tokens = ["<|end|>", "a", "b", "ab"]
    kinds = [Number("i32", kind) for kind in (CONTROL, NORMAL, NORMAL, NORMAL)]
    changes = {"tokens": tokens, "token_type": kinds, "merges": ["a b"], "eos_token_id": 0}
    tokenizer = loaded(made(tmp_path, LETTERS, **changes))
    assert tokenizer.encode("ab<|end|>b").ids == [3, 0, 2]


def test_the_end_is_a_control_token_whatever_its_type(tmp_path: Path) -> None:
    kinds = [Number("i32", NORMAL)] * 8
    definition: Any = made(tmp_path, LETTERS, token_type=kinds).definition
    added = {token["content"]: token["special"] for token in definition["added_tokens"]}
    assert added == {"<|end|>": True}


def test_bos_comes_first_where_the_file_says_so(tmp_path: Path) -> None:
    changes = {"bos_token_id": 5, "add_bos_token": True}
    tokenizer = made(tmp_path, LETTERS, **changes)
    assert tokenizer.settings["add_bos_token"] is True
    assert loaded(tokenizer).encode("ab").ids == [5, 2]
    assert loaded(tokenizer).encode("ab", add_special_tokens=False).ids == [2]


def test_sentencepiece_puts_a_space_in_front_of_every_stretch(tmp_path: Path) -> None:
    tokenizer = made(tmp_path, SENTENCEPIECE)
    library = loaded(tokenizer)
    assert library.encode("hi hi", add_special_tokens=False).ids == [8, 8]
    assert library.encode("[INST]hi\n").ids == [1, 10, 8, 3]
    assert library.decode([8, 8]) == "hi hi"
    assert tokenizer.settings["bos_token"] == "<s>"
    without = loaded(made(tmp_path, SENTENCEPIECE, add_space_prefix=False))
    assert without.encode("hi hi", add_special_tokens=False).ids == [7, 8]


def test_control_tokens_of_phi_3_take_the_white_space_after_them(tmp_path: Path) -> None:
    phi3 = loaded(made(tmp_path, {**SENTENCEPIECE, "general.name": "Phi 3 Mini"}))
    assert phi3.encode("[INST]\nhi").ids != [1, 10, 8]
    phi3 = loaded(made(tmp_path, {**SENTENCEPIECE, "general.name": "Phi-3-mini"}))
    assert phi3.encode("[INST]\nhi").ids == [1, 10, 8]
    assert phi3.encode("<s>\nhi", add_special_tokens=False).ids[:3] == [1, 4, 3]


def test_better_pieces_merge_first() -> None:
    pieces = {"a": 0, "b": 1, "c": 2, "ab": 3, "bc": 4, "abc": 5}
    scores = {"a": -5.0, "b": -5.0, "c": -5.0, "ab": -2.0, "bc": -1.0, "abc": -3.0}
    assert merges_of_scores(pieces, scores) == [("b", "c"), ("a", "b"), ("ab", "c"), ("a", "bc")]
    assert merges_of_scores(pieces, scores, {"bc"}) == [("a", "b"), ("ab", "c"), ("a", "bc")]


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        (LETTERS, {"model": "t5"}),
        (LETTERS, {"model": None}),
        (LETTERS, {"pre": None}),
        (LETTERS, {"pre": "something-new"}),
        (LETTERS, {"tokens": None}),
        (LETTERS, {"tokens": ["a", "a"], "token_type": None}),
        (LETTERS, {"tokens": ["a", ""], "token_type": None}),
        (LETTERS, {"tokens": ["a", "b" * 5000], "token_type": None}),
        (LETTERS, {"token_type": [Number("i32", 1)]}),
        (SENTENCEPIECE, {"scores": None}),
        (SENTENCEPIECE, {"scores": [1.0]}),
    ],
)
def test_what_cannot_be_converted_is_refused(
    base: dict[str, object], changes: dict[str, object], tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        made(tmp_path, base, **changes)
    assert [problem.code for problem in caught.value.problems] == ["MENS-H137"]


def test_templates_and_ends_are_found(tmp_path: Path) -> None:
    templates: dict[str, object] = {
        "tokenizer.chat_template": "plain",
        "tokenizer.chat_template.tool_use": "tools",
        "tokenizer.chat_template.../evil": "no file",
        "tokenizer.chat_template.huge": "x" * (2**20 + 1),
    }
    fields = fields_of(tmp_path, {**LETTERS, **templates}, eot_token_id=6, bos_token_id=900)
    texts = gguf_texts(fields, 8)
    assert texts.templates == {"default": "plain", "tool_use": "tools"}
    assert len(texts.notes) == 2
    assert texts.eos_ids == (5, 6)
    assert texts.ids == {"eos_token_id": 5}


ENDS = ["<bos>", "<eos>", "<end_of_turn>", "<|eot_id|>", "<|eom_id|>", "<|im_end|>", "a", "<|end|>"]


@pytest.mark.parametrize(
    ("named", "ends"),
    [
        # Gemma: the end of a turn has no field. Phi-3 and Qwen are alike.
        ({"eos_token_id": 1}, (1, 2, 3, 4, 5, 7)),
        ({"eos_token_id": 1, "eot_token_id": 2}, (1, 2, 3, 4, 5, 7)),
        ({"eos_token_id": 3, "eot_token_id": 6, "eom_token_id": 4}, (3, 6, 4, 2, 5, 7)),
        ({"eot_token_id": 5}, (5, 2, 3, 4, 7)),
        ({"eos_token_id": 900}, (2, 3, 4, 5, 7)),
        ({}, (2, 3, 4, 5, 7)),
    ],
)
def test_whatever_llama_cpp_stops_at_is_an_end(
    named: dict[str, object], ends: tuple[int, ...], tmp_path: Path
) -> None:
    kinds = [Number("i32", NORMAL)] * 8
    base = {**LETTERS, "tokenizer.ggml.eos_token_id": None}
    changes = {"tokens": ENDS, "token_type": kinds, "merges": None, **named}
    texts = gguf_texts(fields_of(tmp_path, base, **changes), 8)
    assert texts.eos_ids == ends
    definition: Any = made(tmp_path, base, **changes).definition
    added = {token["id"] for token in definition["added_tokens"] if token["special"]}
    assert added == set(ends)


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_every_way_of_splitting_is_sound(name: str) -> None:
    definition: dict[str, object] = {"pre_tokenizer": PRE_TOKENIZERS[name].definition()}
    assert growth_of(definition) < 2
    assert not needs_trial(definition)
