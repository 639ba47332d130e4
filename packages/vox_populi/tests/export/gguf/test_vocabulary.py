"""Which tokenizers llama.cpp has a name for, and what it is told about them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vox_populi.errors import ArtifactError, ModelError
from vox_populi.export.gguf.vocabulary import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    gguf_refusals,
    read_chat_templates,
    read_gguf_vocabulary,
)
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.family_registry import FAMILIES
from vox_populi.hf.model_config import parse_model_config

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}


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


def settings(folder: Path, **values: Any) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(values), encoding="utf-8")


def test_templates_are_found_wherever_a_folder_has_them(tmp_path: Path) -> None:
    assert read_chat_templates(tmp_path) == {}
    (tmp_path / "chat_template.json").write_text('{"chat_template": "oldest"}', encoding="utf-8")
    assert read_chat_templates(tmp_path) == {"default": "oldest"}
    named = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]
    settings(tmp_path, chat_template=named)
    assert read_chat_templates(tmp_path) == {"default": "a", "tool_use": "b"}
    (tmp_path / "chat_template.jinja").write_text("new", encoding="utf-8")
    assert read_chat_templates(tmp_path) == {"default": "new"}


def test_a_template_that_is_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s", encoding="utf-8")
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "chat_template.jinja").symlink_to(tmp_path / "secret")
    with pytest.raises(ModelError):
        read_chat_templates(folder)


def test_lint_and_export_refuse_a_template_for_the_same_reason(tmp_path: Path) -> None:
    written(tmp_path)
    tiny = next(family.tiny for family in FAMILIES if family.name == "llama")
    config = parse_model_config(tiny, "test")
    assert not gguf_refusals(tmp_path, config)
    settings(tmp_path, chat_template=[{"name": "default"}])
    assert [problem.code for problem in gguf_refusals(tmp_path, config)] == ["MENS-H110"]


SENTENCEPIECE: dict[str, Any] = {
    "model": {
        "type": "BPE",
        "byte_fallback": True,
        "unk_token": "<unk>",
        "vocab": {"<unk>": 0, "<s>": 1, "<0x0A>": 2, "\u2581": 3, "a": 4, "b": 5, "ab": 6}
        | {"\u2581a": 7, "\u2581ab": 8},
        "merges": ["a b", "\u2581 a", "\u2581 ab", "\u2581a b"],
    },
    "added_tokens": [
        {"id": 0, "content": "<unk>", "special": True},
        {"id": 1, "content": "<s>", "special": True},
    ],
    "normalizer": {
        "type": "Sequence",
        "normalizers": [
            {"type": "Prepend", "prepend": "\u2581"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
        ],
    },
    "pre_tokenizer": None,
}


def test_sentencepiece_has_scores_instead_of_merges(tmp_path: Path) -> None:
    found = read_gguf_vocabulary(written(tmp_path, **SENTENCEPIECE), 10)
    assert (found.model, found.merges, found.adds_space) == ("llama", (), True)
    assert found.types == (UNKNOWN, CONTROL, BYTE, *[NORMAL] * 6, UNUSED)
    assert found.unknown_id == 0
    assert found.scores[6] > found.scores[7] > found.scores[8] > found.scores[5]


@pytest.mark.parametrize(
    ("scheme", "adds_space"), [("always", True), ("first", False), ("never", False)]
)
def test_metaspace_says_where_a_space_is_added(
    scheme: str, adds_space: bool, tmp_path: Path
) -> None:
    split = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme}
    changes = SENTENCEPIECE | {"normalizer": None, "pre_tokenizer": split}
    assert read_gguf_vocabulary(written(tmp_path, **changes), 10).adds_space is adds_space


@pytest.mark.parametrize(
    "merges",
    [
        ["a b", "\u2581 a", "\u2581 ab"],
        ["\u2581 ab", "\u2581 a", "\u2581a b", "a b"],
    ],
    ids=["one is missing", "of one token, not together"],
)
def test_merges_that_scores_cannot_say_are_refused(merges: list[str], tmp_path: Path) -> None:
    model = SENTENCEPIECE["model"] | {"merges": merges}
    with pytest.raises(ArtifactError) as caught:
        read_gguf_vocabulary(written(tmp_path, **SENTENCEPIECE | {"model": model}), 10)
    assert caught.value.problems[0].code == "MENS-A076"


def test_control_tokens_that_swallow_spaces_are_those_of_phi3(tmp_path: Path) -> None:
    tokens = ["</s>", "<|end|>", "<s>"]
    added = [
        {"id": 3 + place, "content": token, "special": True, "rstrip": token != "<s>"}
        for place, token in enumerate(tokens)
    ]
    assert read_gguf_vocabulary(written(tmp_path, added_tokens=added), 6).strips_right
    added[0]["rstrip"] = False
    with pytest.raises(ArtifactError):
        read_gguf_vocabulary(written(tmp_path, added_tokens=added), 6)


def test_our_own_vocabulary_is_written_for_merges_of_whole_texts() -> None:
    found = read_gguf_vocabulary(embedded_model_dir(), 4096)
    assert (found.pre, found.model, len(found.notes)) == ("sarvam-moe", "gpt2", 1)
    by_token = dict(zip(found.tokens, found.types, strict=True))
    assert by_token["<|im_end|>"] == CONTROL
    assert by_token["\n    "] == USER_DEFINED
    assert by_token["<0x00>"] == by_token["<0xC3>"] == BYTE
    assert by_token["\u2581return"] == NORMAL
    spaces = [merge for merge in found.merges if not merge.replace(" ", "").strip("\u2581")]
    assert found.merges[: len(spaces)] == tuple(spaces)
    assert len(spaces) > 5
