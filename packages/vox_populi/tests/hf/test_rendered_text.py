from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from vox_populi.hf.hf_tokenizer import HfTokenizer, load_hf_tokenizer

tokenizers = pytest.importorskip("tokenizers", reason="needs vox-populi[mens-gpu]")

LETTERS = "▁abcdefghijklmnopqrstuvwxyz<>/|"
ADDED = ("</s>", "<|e|>", "<think>")
SCHEMES = ("first", "always")


@pytest.fixture(params=SCHEMES)
def letters(request: pytest.FixtureRequest, tmp_path: Path) -> HfTokenizer:
    """One id per letter; a blank before the first piece, or before every piece."""
    vocab = {letter: i for i, letter in enumerate(LETTERS)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme=request.param)
    tokenizer.add_special_tokens(["</s>", tokenizers.AddedToken("<|e|>", rstrip=True)])
    tokenizer.add_tokens(["<think>"])
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer.to_str(), encoding="utf-8")
    return load_hf_tokenizer(path)


def shown(ids: Sequence[int]) -> list[str]:
    return [(*LETTERS, *ADDED)[token_id] for token_id in ids]


def test_control_tokens_of_markup_are_tokens(letters: HfTokenizer) -> None:
    ids, offsets = letters.encode_rendered("a</s>b<|e|> c<think>")
    names = [name for name in shown(ids) if name != "▁"]
    assert names == ["a", "</s>", "b", "<|e|>", "c", "<think>"]
    assert offsets[shown(ids).index("<|e|>")] == (6, 12)
    assert shown(letters.encode("a</s>"))[-4:] == ["<", "/", "s", ">"]


def test_a_typed_control_token_is_text_where_it_is(letters: HfTokenizer) -> None:
    text = "a</s>b</s>c</s>d"
    plain, _ = letters.encode_rendered(text)
    ids, offsets = letters.encode_rendered(text, [(6, 7)])
    typed = ["b", "<", "/", "s", ">", "c"]
    first = shown(ids).index("b")
    assert shown(ids)[first : first + 6] == typed
    assert [text[a:b] for a, b in offsets[first : first + 6]] == typed
    # Around the stretch nothing changes: the same blanks, the same ids.
    assert ids[:first] == plain[:first]
    assert ids[first + 6 :] == plain[plain.index(ids[first + 5]) + 1 :]
    assert offsets[-1] == (15, 16)


def test_a_typed_control_token_at_the_start_is_text(letters: HfTokenizer) -> None:
    ids, offsets = letters.encode_rendered("</s>a</s>", [(0, 1)])
    assert shown(ids) == ["▁", "<", "/", "s", ">", "a", "</s>"]
    assert offsets[1] == (0, 1)


def test_blanks_that_a_real_token_swallows_do_not_make_it_typed(letters: HfTokenizer) -> None:
    ids, _ = letters.encode_rendered("a<|e|>  b", [(6, 7)])
    assert "<|e|>" in shown(ids)
    ids, _ = letters.encode_rendered("a<|e|>  b", [(2, 3)])
    assert "<|e|>" not in shown(ids)


def test_words_that_are_content_stay_tokens(letters: HfTokenizer) -> None:
    ids, _ = letters.encode_rendered("a<think></s>b", [(1, 2), (8, 9)])
    assert shown(ids).count("<think>") == 1
    assert "</s>" not in shown(ids)


def test_a_lone_surrogate_is_no_text(letters: HfTokenizer) -> None:
    with pytest.raises(ValueError, match="surrogate"):
        letters.encode_rendered("a\ud800")
