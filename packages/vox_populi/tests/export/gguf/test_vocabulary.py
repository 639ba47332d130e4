"""Which tokenizers llama.cpp has a name for, and what it is told about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vox_populi.errors import ArtifactError
from vox_populi.export.gguf.vocabulary import (
    CONTROL,
    NORMAL,
    UNUSED,
    USER_DEFINED,
    read_chat_template,
    read_gguf_vocabulary,
)

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def split_by(pattern: str) -> dict[str, Any]:
    return {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"},
            BYTE_LEVEL | {"use_regex": False},
        ],
    }


def written(folder: Path, **changes: Any) -> Path:
    raw: dict[str, Any] = {
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]},
        "added_tokens": [
            {"id": 3, "content": "<|end|>", "special": True},
            {"id": 4, "content": "<tool>", "special": False},
        ],
        "pre_tokenizer": BYTE_LEVEL,
        "normalizer": None,
    }
    (folder / "tokenizer.json").write_text(json.dumps(raw | changes), encoding="utf-8")
    return folder


def test_every_row_of_the_embedding_has_a_token(tmp_path: Path) -> None:
    found = read_gguf_vocabulary(written(tmp_path), 6)
    assert found.tokens == ("a", "b", "ab", "<|end|>", "<tool>", "[PAD5]")
    assert found.types == (NORMAL, NORMAL, NORMAL, CONTROL, USER_DEFINED, UNUSED)
    assert (found.merges, found.pre) == (("a b",), "gpt-2")


def test_merges_come_in_two_spellings(tmp_path: Path) -> None:
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}
    assert read_gguf_vocabulary(written(tmp_path, model=model), 5).merges == ("a b",)


def test_patterns_have_names(tmp_path: Path) -> None:
    nfc = {"type": "NFC"}
    qwen = written(tmp_path, pre_tokenizer=split_by(QWEN2), normalizer=nfc)
    assert read_gguf_vocabulary(qwen, 5).pre == "qwen2"
    llama = split_by(QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|"))
    assert read_gguf_vocabulary(written(tmp_path, pre_tokenizer=llama), 5).pre == "llama-bpe"


@pytest.mark.parametrize(
    "changes",
    [
        {"pre_tokenizer": None},
        {"pre_tokenizer": BYTE_LEVEL | {"add_prefix_space": True}},
        {"pre_tokenizer": split_by(r"\w+")},
        {"normalizer": {"type": "Lowercase"}},
        {"model": {"type": "Unigram", "vocab": []}},
        {"model": {"type": "BPE", "byte_fallback": True, "vocab": {}, "merges": []}},
        {"model": {"type": "BPE", "vocab": [], "merges": []}},
        {"added_tokens": [{"id": 9, "content": "x"}]},
    ],
)
def test_what_llama_cpp_would_read_otherwise_is_refused(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError) as caught:
        read_gguf_vocabulary(written(tmp_path, **changes), 5)
    assert caught.value.problems[0].code == "MENS-A076"


def test_a_chat_template_is_found_in_both_places(tmp_path: Path) -> None:
    assert read_chat_template(tmp_path) is None
    settings = json.dumps({"chat_template": "old"})
    (tmp_path / "tokenizer_config.json").write_text(settings, encoding="utf-8")
    assert read_chat_template(tmp_path) == "old"
    (tmp_path / "chat_template.jinja").write_text("new", encoding="utf-8")
    assert read_chat_template(tmp_path) == "new"
