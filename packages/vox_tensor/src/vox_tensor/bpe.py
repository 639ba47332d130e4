"""Byte-pair encoding on symbols: learning merges and applying them. No text or files here.

The method of Sennrich et al. 2016 (arXiv 1508.07909) on bytes. A symbol is an integer: 0 to
255 are the bytes, later ones stand for a merged pair.
"""

from __future__ import annotations

import heapq
from array import array
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

N_BYTES = 256
# A pair is one integer, left << 32 | right: cheaper to hash than a tuple, and in the same order.
_SHIFT = 32
_MASK = (1 << _SHIFT) - 1


def pair_key(left: int, right: int) -> int:
    """The integer that represents a pair of symbols."""
    return left << _SHIFT | right


def merge_symbols(symbols: Sequence[int], result_of: Mapping[int, int]) -> list[int]:
    """Apply merges until none fits: always the oldest merge, at its leftmost position first.

    Takes O(n log n) time and about 70 bytes per symbol, so one long word cannot stall a run.

    Args:
        symbols: One piece of text.
        result_of: The symbol that a pair becomes, by `pair_key`; older merges have smaller ones.
    """
    alive = array("q", symbols)
    n = len(alive)
    following, preceding = array("q", range(1, n + 1)), array("q", range(-1, n - 1))
    get = result_of.get
    # An entry is one integer, result << 32 | position: a third of the memory of a tuple.
    queue = [
        result << _SHIFT | i
        for i in range(n - 1)
        if (result := get(alive[i] << _SHIFT | alive[i + 1])) is not None
    ]
    heapq.heapify(queue)
    while queue:
        entry = heapq.heappop(queue)
        result, i = entry >> _SHIFT, entry & _MASK
        j = following[i]
        # -1 marks a symbol that was merged away; no key with it is in the table.
        if j == n or get(alive[i] << _SHIFT | alive[j]) != result:
            continue
        alive[i], alive[j] = result, -1
        after = following[i] = following[j]
        if after < n:
            preceding[after] = i
            right = get(result << _SHIFT | alive[after])
            if right is not None:
                heapq.heappush(queue, right << _SHIFT | i)
        before = preceding[i]
        if before >= 0:
            left = get(alive[before] << _SHIFT | result)
            if left is not None:
                heapq.heappush(queue, left << _SHIFT | before)
    return [symbol for symbol in alive if symbol >= 0]


def learn_merges(pieces: Mapping[bytes, int], n_merges: int) -> list[tuple[bytes, bytes]]:
    """Learn up to `n_merges` merges from how often each piece of text occurs.

    The most frequent pair is merged first; among equals the one with the older left symbol, then
    the older right symbol, so the result depends only on the counts. Pairs seen once are never
    merged, hence fewer merges on a small corpus. No two merges make the same token, so how a
    stretch between two borders is split does not depend on anything outside it.
    """
    corpus = _PairIndex.of(pieces)
    token_bytes = [bytes([value]) for value in range(N_BYTES)]
    merges: list[tuple[bytes, bytes]] = []
    while len(merges) < n_merges:
        key = corpus.pop_most_frequent()
        if key is None:
            break
        left, right = token_bytes[key >> _SHIFT], token_bytes[key & _MASK]
        corpus.merge(key, len(token_bytes))
        token_bytes.append(left + right)
        merges.append((left, right))
    return merges


@dataclass(slots=True)
class _PairIndex:
    """Distinct words, and the count and words of each pair of adjacent symbols."""

    words: list[list[int]]
    weights: list[int]
    counts: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    words_with: defaultdict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    queue: list[tuple[int, int]] = field(default_factory=list)
    """Max-heap of (-count, pair); it may hold stale entries, but no pair's count is understated."""

    @classmethod
    def of(cls, pieces: Mapping[bytes, int]) -> _PairIndex:
        index = cls([list(piece) for piece in pieces], list(pieces.values()))
        for i, (word, weight) in enumerate(zip(index.words, index.weights, strict=True)):
            for key in _keys(word):
                index.counts[key] += weight
                index.words_with[key].add(i)
        index.queue = [(-count, key) for key, count in index.counts.items()]
        heapq.heapify(index.queue)
        return index

    def pop_most_frequent(self) -> int | None:
        """The pair to merge next, or `None` when no pair occurs twice."""
        while self.queue:
            negative, key = heapq.heappop(self.queue)
            count = self.counts.get(key, 0)
            if count < 2:
                continue
            if count == -negative:
                return key
            # Counts that grew were pushed when they did; only a fallen one needs a new entry.
            if count < -negative:
                heapq.heappush(self.queue, (-count, key))
        return None

    def merge(self, key: int, symbol: int) -> None:
        """Replace the pair by `symbol` in every word, and bring the counts up to date."""
        # A word stays in the sets of pairs that earlier merges took from it: a look in vain is
        # cheaper than keeping every set exact.
        grown: set[int] = set()
        for i in self.words_with.pop(key):
            old = self.words[i]
            new = _merged(old, key >> _SHIFT, key & _MASK, symbol)
            if len(new) == len(old):
                continue
            self.words[i] = new
            weight = self.weights[i]
            # Subtract the whole old word and add the whole new one: pairs that overlap, as in
            # "aaa", then need no case of their own. A count that falls keeps its stale entry in
            # the queue, which `pop_most_frequent` corrects; one that grows needs a new entry,
            # or the pair would come too late.
            for pair in _keys(old):
                self.counts[pair] -= weight
            for pair in _keys(new):
                self.counts[pair] += weight
                # Neighbours that the merge did not touch were counted and indexed before.
                if pair & _MASK == symbol or pair >> _SHIFT == symbol:
                    self.words_with[pair].add(i)
                    grown.add(pair)
        for pair in grown:
            heapq.heappush(self.queue, (-self.counts[pair], pair))
        self.counts.pop(key, None)


def _keys(word: Sequence[int]) -> list[int]:
    return [left << _SHIFT | right for left, right in pairwise(word)]


def _merged(word: list[int], left: int, right: int, symbol: int) -> list[int]:
    """The word with each occurrence of the pair replaced, from the left."""
    merged: list[int] = []
    i, n = 0, len(word)
    while i < n:
        if word[i] == left and i + 1 < n and word[i + 1] == right:
            merged.append(symbol)
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return merged
