from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from vox_tensor.bpe import learn_merges, merge_symbols, pair_key

Merges = list[tuple[bytes, bytes]]

# Two letters make runs and overlaps likely.
WORDS = st.text("ab", min_size=1, max_size=24).map(str.encode)
PIECES = st.dictionaries(WORDS, st.integers(1, 5), max_size=12)


def learn_by_the_book(pieces: dict[bytes, int], n_merges: int) -> Merges:
    """The definition of `learn_merges`, counting everything again after every merge."""
    words = {piece: [bytes([value]) for value in piece] for piece in pieces}
    age = {bytes([value]): value for value in range(256)}
    merges: Merges = []
    while len(merges) < n_merges:
        counts: Counter[tuple[bytes, bytes]] = Counter()
        for piece, word in words.items():
            for pair in pairwise(word):
                counts[pair] += pieces[piece]
        ranked = sorted(counts, key=lambda p: (-counts[p], age[p[0]], age[p[1]]))
        if not ranked or counts[ranked[0]] < 2:
            break
        best = ranked[0]
        merges.append(best)
        age[best[0] + best[1]] = len(age)
        words = {piece: replace_all(word, best) for piece, word in words.items()}
    return merges


def replace_all(word: list[bytes], pair: tuple[bytes, bytes]) -> list[bytes]:
    result: list[bytes] = []
    for token in word:
        # A result of this very merge must not be merged again: it is longer than either part.
        if result and (result[-1], token) == pair:
            result[-1] += token
        else:
            result.append(token)
    return result


def apply_by_the_book(piece: bytes, merges: Merges) -> list[bytes]:
    """The definition of `merge_symbols`: the lowest rank, the leftmost of them, one at a time."""
    rank = {pair: i for i, pair in enumerate(merges)}
    word = [bytes([value]) for value in piece]
    while candidates := [(rank[p], i) for i, p in enumerate(pairwise(word)) if p in rank]:
        _, i = min(candidates)
        word[i : i + 2] = [word[i] + word[i + 1]]
    return word


def as_table(merges: Merges) -> tuple[dict[int, int], list[bytes]]:
    tokens = [bytes([value]) for value in range(256)]
    table: dict[int, int] = {}
    for left, right in merges:
        table[pair_key(tokens.index(left), tokens.index(right))] = len(tokens)
        tokens.append(left + right)
    return table, tokens


@given(PIECES, st.integers(0, 20))
def test_learning_is_what_the_definition_says(pieces: dict[bytes, int], n_merges: int) -> None:
    assert learn_merges(pieces, n_merges) == learn_by_the_book(pieces, n_merges)


@given(PIECES)
def test_learning_depends_on_counts_and_not_on_their_order(pieces: dict[bytes, int]) -> None:
    backwards = dict(reversed(pieces.items()))
    assert learn_merges(backwards, 20) == learn_merges(pieces, 20)


@given(PIECES)
def test_no_two_merges_make_the_same_token(pieces: dict[bytes, int]) -> None:
    merges = learn_merges(pieces, 40)
    assert len({left + right for left, right in merges}) == len(merges)


@given(PIECES, WORDS)
def test_applying_is_what_the_definition_says(pieces: dict[bytes, int], piece: bytes) -> None:
    merges = learn_merges(pieces, 20)
    table, tokens = as_table(merges)
    merged = merge_symbols(list(piece), table)
    assert [tokens[symbol] for symbol in merged] == apply_by_the_book(piece, merges)


def test_merges_of_a_small_case_computed_by_hand() -> None:
    # 'ab' 5 times, then 'abc' 3 times; 'xy' once is left alone.
    assert learn_merges({b"abc": 3, b"ab": 2, b"xy": 1}, n_merges=9) == [
        (b"a", b"b"),
        (b"ab", b"c"),
    ]


def test_ties_go_to_the_older_symbols() -> None:
    assert learn_merges({b"ba": 2, b"ab": 2, b"aa": 2}, n_merges=3) == [
        (b"a", b"a"),
        (b"a", b"b"),
        (b"b", b"a"),
    ]


def test_no_more_merges_than_asked_for_and_none_without_repetition() -> None:
    assert len(learn_merges({b"abcabc": 5}, n_merges=1)) == 1
    assert learn_merges({b"abcabc": 5}, n_merges=0) == []
    assert learn_merges({b"abcd": 1}, n_merges=5) == []
    assert learn_merges({}, n_merges=5) == []


def test_symbols_given_are_not_changed() -> None:
    table, _ = as_table([(b"a", b"b")])
    symbols = list(b"abab")
    assert merge_symbols(symbols, table) == [256, 256]
    assert symbols == list(b"abab")


def test_nothing_and_one_symbol_stay_as_they_are() -> None:
    table, _ = as_table([(b"a", b"a")])
    assert merge_symbols([], table) == []
    assert merge_symbols([97], table) == [97]
