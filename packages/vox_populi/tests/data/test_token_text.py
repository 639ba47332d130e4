"""The text of each id, of real kinds of tokenizers; the whole is what the library decodes."""

from __future__ import annotations

from typing import Any

import pytest

from vox_populi.data.token_text import TokenTexts
from vox_populi.hf.hf_tokenizer import HfTokenizer
from vox_tensor.tokenizer import VoxTokenizer


def texts(tokenizer: Any, ids: list[int]) -> list[str]:
    tokens = TokenTexts(tokenizer).of(ids)
    whole = "".join(t.text for i, t in enumerate(tokens) if i == 0 or t.end > tokens[i - 1].end)
    assert all(whole[t.start : t.end] == t.text for t in tokens)
    return [t.text for t in tokens]


def test_control_tokens_have_their_names() -> None:
    vox = VoxTokenizer()
    ids = [3, *vox.encode("a<|im_end|>"), 4, 2]
    shown = texts(vox, ids)
    assert (shown[0], shown[-2:]) == ("<|im_start|>", ["<|im_end|>", "<|endoftext|>"])
    assert [t.control for t in TokenTexts(vox).of(ids)].count(True) == 3


def test_a_split_character_is_shown_whole_and_a_cut_one_as_a_replacement() -> None:
    vox = VoxTokenizer()
    ids = vox.encode("é👋")
    assert texts(vox, ids) == ["é"] * 2 + ["👋"] * 4
    assert texts(vox, ids[:-1])[-1].startswith("\ufffd")
    assert texts(vox, []) == []


def test_a_literal_replacement_character_ends_no_row_early() -> None:
    vox = VoxTokenizer()
    assert "".join(dict.fromkeys(texts(vox, vox.encode("\ufffd b")))) == "\ufffd b"


def sentencepiece() -> Any:
    """Metaspace in front of every text, as Llama 2 has it, with `<s>` as a control token."""
    library = pytest.importorskip("tokenizers", reason="needs vox-populi[mens-gpu]")
    vocab = {"<unk>": 0, "<s>": 1, "▁a": 2, "▁b": 3, "a": 4, "b": 5, "▁": 6}
    model = library.models.BPE(vocab, [("▁", "a"), ("▁", "b")], unk_token="<unk>")
    raw = library.Tokenizer(model)
    raw.pre_tokenizer = library.pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    raw.decoder = library.decoders.Metaspace(prepend_scheme="always", split=True)
    raw.add_special_tokens(["<s>"])
    return HfTokenizer(raw, eos_id=None, digest="sha256:0", where="test")


def test_the_spaces_of_sentencepiece_are_shown_wherever_the_ids_have_them() -> None:
    tokenizer = sentencepiece()
    assert texts(tokenizer, [2, 3, 5]) == ["a", " b", "b"]
    assert texts(tokenizer, [1, 2, 3, 1, 5, 3]) == ["<s>", " a", " b", "<s>", "b", " b"]
