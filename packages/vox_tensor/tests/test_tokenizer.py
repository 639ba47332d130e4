from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vox_tensor.errors import DataError
from vox_tensor.tokenizer import CONTROL_TOKENS, PIECE_PATTERN, TextTokenizer, VoxTokenizer

CORPUS = (
    "def add(first, second):\n    return first + second\n\n\n"
    "class Counter:\n\tdef __init__(self):\r\n\t\tself.count = 1000\n"
    "# naïve café, 東京 2024, 🙂🙂 ... \u2028 aaaa aaaaaaa aaaaaaaaa\n"
) * 3
VOCAB_SIZE = 340
DIGEST_OF_BYTES = "sha256:4924f38891b78bc851469fee6283552c5e5faa54b909b0cbe371ed785e100e93"
DIGEST_OF_TRAINED = "sha256:69e48bdc8d4da4cc2df2de5f1f549bf65a31eef4914457c7558a5308b157a2c1"

ANY_TEXT = st.text(max_size=60)
TRICKY_TEXT = st.text(" \t\r\n\x0b\x0c\x85\u00a0\u2028aA_09.<|>é東🙂\u0301", max_size=60)
CODE_TEXT = st.lists(
    st.sampled_from([*re.findall(r"\S+|\s+", CORPUS), *CONTROL_TOKENS, "a" * 70]), max_size=12
).map("".join)
TEXTS = ANY_TEXT | TRICKY_TEXT | CODE_TEXT


@pytest.fixture(scope="module")
def trained() -> VoxTokenizer:
    return VoxTokenizer.train([CORPUS], VOCAB_SIZE)


@pytest.fixture(scope="module")
def theirs() -> Callable[[VoxTokenizer], Any]:
    """Reads a tokenizer of ours with the `tokenizers` library."""
    tokenizers = pytest.importorskip("tokenizers", reason="needs the tokenizers library")

    def read(tokenizer: VoxTokenizer) -> Any:
        other = tokenizers.Tokenizer.from_str(tokenizer.to_json())
        other.encode_special_tokens = True
        return other

    return read


def test_ids_of_control_tokens_and_bytes_never_move() -> None:
    tokenizer: TextTokenizer = VoxTokenizer()
    named = ["<|pad|>", "<|unk|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert [tokenizer.control_id(name) for name in named] == [0, 1, 2, 3, 4]
    assert (tokenizer.eos_id, tokenizer.vocab_size) == (2, 261)
    assert tokenizer.encode("\x00A\xff") == [5, 5 + 65, 5 + 0xC3, 5 + 0xBF]


@pytest.mark.parametrize("token", ["<|im_end", "", "im_end", "<|IM_END|>", "a"])
def test_other_strings_are_not_control_tokens(token: str) -> None:
    assert VoxTokenizer().control_id(token) is None


def test_merges_get_ids_in_rank_order() -> None:
    tokenizer = VoxTokenizer([(b"a", b"b"), (b"ab", b"c")])
    assert [tokenizer.token_bytes(i) for i in (261, 262)] == [b"ab", b"abc"]
    assert tokenizer.encode("abc ab") == [262, 5 + 32, 261]
    assert tokenizer.vocab_size == 263
    assert repr(tokenizer) == "VoxTokenizer(2 merges, 263 ids)"


def test_training_shortens_its_corpus(trained: VoxTokenizer) -> None:
    assert trained.vocab_size == VOCAB_SIZE
    assert len(trained.encode(CORPUS)) < len(VoxTokenizer().encode(CORPUS)) / 2


@given(TEXTS)
@example("fn hello() to int:")
@example("")
def test_round_trip_of_any_text(trained: VoxTokenizer, text: str) -> None:
    for tokenizer in (trained, VoxTokenizer()):
        assert tokenizer.decode(tokenizer.encode(text)) == text


@given(TEXTS)
def test_pieces_are_the_whole_text(text: str) -> None:
    assert "".join(re.findall(PIECE_PATTERN, text)) == text


def test_text_is_split_into_pieces_at_these_places() -> None:
    text = "def f_1(x):\n\t  return 'naïve' + 12345\r\n  # a"
    pieces = re.findall(PIECE_PATTERN, text)
    assert pieces[:7] == ["def", " f_", "1", "(", "x", "):", "\n\t  "]
    assert pieces[7:14] == ["return", " '", "na", "ï", "ve", "'", " +"]
    assert pieces[14:] == [" 123", "45", "\r\n  ", "#", " a"]


def test_ids_and_file_are_the_same_in_every_version() -> None:
    # A change of either digest makes models that were trained with the tokenizer unreadable.
    trained = VoxTokenizer.train(["def f(x):\n    return x + 1000\n"] * 3, vocab_size=270)
    assert VoxTokenizer().digest == DIGEST_OF_BYTES
    assert trained.digest == DIGEST_OF_TRAINED


@given(TEXTS)
def test_text_never_makes_a_control_token(trained: VoxTokenizer, text: str) -> None:
    assert min(trained.encode(text + "".join(CONTROL_TOKENS))) >= len(CONTROL_TOKENS)


@given(TEXTS)
@example("\n    x")
@example("1234567")
def test_ids_agree_with_the_tokenizers_library(
    theirs: Callable[[VoxTokenizer], Any], trained: VoxTokenizer, text: str
) -> None:
    assert trained.encode(text) == theirs(trained).encode(text).ids


@given(st.lists(st.text("ab \n", max_size=40), max_size=5), st.text("ab \n", max_size=40))
def test_ids_agree_for_any_training(
    theirs: Callable[[VoxTokenizer], Any], texts: list[str], text: str
) -> None:
    tokenizer = VoxTokenizer.train(texts, vocab_size=285)
    other = theirs(tokenizer)
    for sample in (text, *texts):
        assert tokenizer.encode(sample) == other.encode(sample).ids


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8), st.data())
def test_ids_agree_for_merges_that_no_training_would_order_so(
    theirs: Callable[[VoxTokenizer], Any], picks: list[tuple[int, int]], data: st.DataObject
) -> None:
    tokens, merges = [b"a", b"b"], list[tuple[bytes, bytes]]()
    for left, right in ((tokens[i % len(tokens)], tokens[j % len(tokens)]) for i, j in picks):
        if left + right not in tokens:
            merges.append((left, right))
            tokens.append(left + right)
    tokenizer, text = VoxTokenizer(merges), data.draw(st.text("ab", max_size=40))
    assert tokenizer.encode(text) == theirs(tokenizer).encode(text).ids


@given(st.lists(st.integers(0, VOCAB_SIZE + 20)))
def test_decoding_any_ids_agrees_with_the_tokenizers_library(
    theirs: Callable[[VoxTokenizer], Any], trained: VoxTokenizer, ids: list[int]
) -> None:
    assert trained.decode(ids) == theirs(trained).decode(ids)


def test_the_library_sees_the_same_vocabulary(
    theirs: Callable[[VoxTokenizer], Any], trained: VoxTokenizer
) -> None:
    other = theirs(trained)
    assert max(other.get_vocab().values()) + 1 == trained.vocab_size
    assert [other.token_to_id(name) for name in CONTROL_TOKENS] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 4], [-1], [10**6]])
def test_control_tokens_and_unknown_ids_have_no_text(ids: list[int]) -> None:
    assert VoxTokenizer().decode([70, *ids, 71]) == "AB"


def test_bytes_that_are_not_utf8_become_a_replacement_character() -> None:
    cut = VoxTokenizer().encode("é")[:1]
    assert VoxTokenizer().decode(cut) == "\ufffd"


def test_a_lone_surrogate_is_refused(trained: VoxTokenizer) -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        trained.encode("a\ud800")
    with pytest.raises(ValueError, match="surrogate"):
        VoxTokenizer.train(["a\ud800"], 300)


def test_a_full_cache_is_emptied_and_ids_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vox_tensor.tokenizer._CACHE_PIECES", 2)
    tokenizer = VoxTokenizer([(b"a", b"b")])
    for _ in range(2):
        assert tokenizer.encode("ab cab d ab") == [261, 37, 104, 261, 37, 105, 37, 261]


def test_the_same_texts_train_the_same_tokenizer(trained: VoxTokenizer) -> None:
    again = VoxTokenizer.train(iter([CORPUS]), VOCAB_SIZE)
    assert (again.merges, again.digest) == (trained.merges, trained.digest)
    assert VoxTokenizer.train([CORPUS, "zz " * 50], VOCAB_SIZE).digest != trained.digest


def test_a_small_corpus_gives_fewer_ids_than_asked_for() -> None:
    assert VoxTokenizer.train(["abab"], 4096).vocab_size == 262
    assert VoxTokenizer.train([], 4096).vocab_size == 261


def test_a_vocabulary_below_the_bytes_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 261"):
        VoxTokenizer.train([CORPUS], 260)


@pytest.mark.parametrize(
    "merges",
    [
        [(b"ab", b"c")],
        [(b"a", b"b"), (b"a", b"b")],
        [(b"a", b"b"), (b"b", b"c"), (b"a", b"bc"), (b"ab", b"c")],
        [(b"", b"a")],
        [(b"abc", b"d"), (b"a", b"b"), (b"ab", b"c")],
    ],
)
def test_merges_that_cannot_happen_are_refused(merges: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(ValueError, match="merge"):
        VoxTokenizer(merges)


def test_a_saved_tokenizer_is_read_again(trained: VoxTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    trained.save(path)
    loaded = VoxTokenizer.load(path)
    assert (loaded.merges, loaded.digest) == (trained.merges, trained.digest)
    assert loaded.encode(CORPUS) == trained.encode(CORPUS)


def test_the_digest_is_the_hash_of_the_saved_file(trained: VoxTokenizer, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    trained.save(path)
    assert trained.digest == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert trained.digest != VoxTokenizer().digest


@pytest.mark.parametrize("pretty", [False, True])
def test_what_the_library_saves_again_is_read(
    theirs: Callable[[VoxTokenizer], Any], trained: VoxTokenizer, pretty: bool
) -> None:
    saved = theirs(trained).to_str(pretty=pretty)
    assert saved != trained.to_json()
    assert VoxTokenizer.from_json(saved).digest == trained.digest


def changed(tokenizer: VoxTokenizer, *route: str | int, to: object) -> str:
    """The file with the value at `route` replaced."""
    content = json.loads(tokenizer.to_json())
    place = content
    for step in route[:-1]:
        place = place[step]
    place[route[-1]] = to
    return json.dumps(content)


@pytest.mark.parametrize(
    ("route", "value", "named"),
    [
        (("normalizer",), {"type": "NFKC"}, "normalizer"),
        (("post_processor",), {"type": "ByteLevel"}, "post_processor"),
        (("pre_tokenizer", "pretokenizers", 0, "pattern", "Regex"), "(a+)+$", "pre_tokenizer"),
        (("pre_tokenizer", "pretokenizers", 0, "invert"), True, "pre_tokenizer"),
        (("added_tokens", 4, "content"), "<|end|>", "added_tokens"),
        (("added_tokens", 4, "id"), 7, "added_tokens"),
        (("model", "type"), "WordPiece", "model.type"),
        (("model", "dropout"), 0.1, "model.dropout"),
        (("model", "byte_fallback"), True, "model.byte_fallback"),
        (("model", "unk_token"), "<|unk|>", "model.unk_token"),
        (("model", "vocab", "a"), 3, "model.vocab"),
        (("model", "vocab", "zz"), 10**6, "model.vocab"),
        (("model", "merges"), [], "model.vocab"),
        (("model", "merges", 0), "zz zz", "merge 0 joins"),
        (("model", "merges", 1), ["", "a"], "merge 1 joins"),
        (("model", "merges", 0), "a", "no BPE merges"),
        (("model", "merges", 0), "a b c", "no BPE merges"),
        (("model", "merges", 0), ["東", "a"], "no BPE merges"),
        (("model", "merges", 0), [["a"], 5], "no BPE merges"),
        (("model", "merges", 0), 7, "no BPE merges"),
        (("model", "merges"), {"a": "b"}, "no BPE merges"),
        (("model",), [], "no BPE merges"),
        (("unheard_of",), 1, "unheard_of"),
    ],
)
def test_a_file_that_means_something_else_is_refused_by_field(
    trained: VoxTokenizer, route: tuple[str | int, ...], value: object, named: str
) -> None:
    with pytest.raises(DataError) as caught:
        VoxTokenizer.from_json(changed(trained, *route, to=value), where="t.json")
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("MENS-D020", "t.json")
    assert named in problem.what


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "MENS-D005"),
        (b"{", "MENS-D005"),
        (b"[" * 100_000, "MENS-D010"),
        (b'{"model": 1, "model": 2}', "MENS-D006"),
        (b"[]", "MENS-D020"),
        (b"null", "MENS-D020"),
        (b'{"model": {"type": "BPE"}}', "MENS-D020"),
        (b"\x80\x04", "MENS-D020"),
    ],
)
def test_a_file_that_is_not_a_tokenizer_is_refused(
    tmp_path: Path, content: bytes, code: str
) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        VoxTokenizer.load(path)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == (code, str(path))


def test_a_missing_file_a_folder_and_a_huge_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vox_tensor.tokenizer._MAX_FILE_BYTES", 10)
    huge = tmp_path / "huge.json"
    huge.write_bytes(b" " * 11)
    for path, code in (
        (tmp_path / "none.json", "MENS-D001"),
        (tmp_path, "MENS-D002"),
        (huge, "MENS-D020"),
    ):
        with pytest.raises(DataError) as caught:
            VoxTokenizer.load(path)
        assert [problem.code for problem in caught.value.problems] == [code]
