"""Which rows of a corpus are the same or nearly so: within it, and between it and held-out rows.

About 85 bytes a row are kept, and about as much again while rows are compared; no text.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heappush, heappushpop
from itertools import groupby

from vox_populi.corpus.text_sketch import BAND_BYTES, N_BANDS, SKETCH_BYTES, TextSketcher, likeness

MOST_EXAMPLES = 20
_MOST_COMPARED = 16
"""Rows with which a row is compared in each band: rows of a template share bands with thousands."""
_NO_WORDS = bytes(SKETCH_BYTES)


class Overlap(StrEnum):
    """What a held-out row has in common with a row of the corpus."""

    SAME_ROW = "same row"
    SAME_PROMPT = "same prompt"
    NEAR = "nearly the same"


LikePair = tuple[float, int, int]
"""How alike two rows are, and their numbers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Likenesses:
    """What was found; rows are numbers in the order in which they were added."""

    repeated: int
    """Rows of the corpus that an earlier one equals."""
    repeated_groups: int
    """Sets of equal rows."""
    near: int
    """Rows of the corpus that differ from all earlier ones and are nearly one of them."""
    near_groups: int
    heldout_same: int = 0
    """Held-out rows that equal a row of the corpus."""
    heldout_prompts: int = 0
    """Other held-out rows with a prompt of the corpus."""
    heldout_near: int = 0
    """Other held-out rows that are nearly a row of the corpus."""
    groups: tuple[tuple[int, tuple[int, ...]], ...] = ()
    """Size and first rows of the largest sets of equal rows."""
    near_pairs: tuple[LikePair, ...] = ()
    """The most alike."""
    overlaps: tuple[tuple[Overlap, LikePair], ...] = ()
    """The first held-out rows with a row of the corpus each."""


@dataclass(slots=True)
class LikenessTable:
    """Rows as keys and sketches."""

    least_likeness: float = 0.8
    _sketcher: TextSketcher = field(default_factory=TextSketcher)
    _row_keys: array[int] = field(default_factory=lambda: array("Q"))
    _prompt_keys: array[int] = field(default_factory=lambda: array("Q"))
    _sketches: bytearray = field(default_factory=bytearray)
    _heldout: bytearray = field(default_factory=bytearray)

    def __len__(self) -> int:
        return len(self._heldout)

    def add(self, row_key: int, prompt_key: int, text: str, *, heldout: bool) -> None:
        """Add a row by the hashes of it and of its prompt, and its text to be likened."""
        self._row_keys.append(row_key)
        self._prompt_keys.append(prompt_key)
        self._sketches += self._sketcher.sketch(text) or _NO_WORDS
        self._heldout.append(heldout)

    def compare(self) -> Likenesses:
        """Find equal rows by their keys, and those that are nearly equal by their sketches."""
        search = _Search(self)
        search.equal_rows()
        search.equal_prompts()
        search.near_rows()
        return search.result()

    def runs(self, keys: array[int]) -> Iterator[list[int]]:
        """Rows with the same key, where there are several, each in order."""
        order = sorted(range(len(keys)), key=keys.__getitem__)
        for _, run in groupby(order, keys.__getitem__):
            rows = list(run)
            if len(rows) > 1:
                yield rows

    def sketch(self, row: int) -> bytes:
        """The sketch of a row."""
        return bytes(self._sketches[row * SKETCH_BYTES : (row + 1) * SKETCH_BYTES])

    def band_keys(self, band: int) -> array[int]:
        """One part of each sketch, as numbers."""
        start = band * BAND_BYTES
        view = memoryview(self._sketches)
        return array(
            "Q",
            (
                int.from_bytes(view[each : each + BAND_BYTES])
                for each in range(start, len(view), SKETCH_BYTES)
            ),
        )

    @property
    def row_keys(self) -> array[int]:
        """Hashes of the rows."""
        return self._row_keys

    @property
    def prompt_keys(self) -> array[int]:
        """Hashes of the prompts."""
        return self._prompt_keys

    def is_heldout(self, row: int) -> bool:
        """Whether a row is a held-out one."""
        return bool(self._heldout[row])


class _Search:
    """One comparison of all rows."""

    def __init__(self, table: LikenessTable) -> None:
        self._table = table
        n = len(table)
        self._repeats = bytearray(n)
        """Rows that need no comparison: an earlier one is the same."""
        self._overlaps = bytearray(n)
        """Held-out rows for which a row of the corpus is known."""
        self._parents = array("I", range(n))
        self._repeated = self._repeated_groups = 0
        self._heldout: Counter[Overlap] = Counter()
        self._groups: list[tuple[int, tuple[int, ...]]] = []
        self._pairs: list[LikePair] = []
        self._examples: dict[int, tuple[Overlap, LikePair]] = {}

    def equal_rows(self) -> None:
        """Rows that are the same, message by message."""
        for rows in self._table.runs(self._table.row_keys):
            train, heldout = self._parted(rows)
            for row in train[1:]:
                self._repeats[row] = True
            if len(train) > 1:
                self._repeated += len(train) - 1
                self._repeated_groups += 1
                self._keep_group(train)
            if train:
                self._overlap(heldout, train[0], Overlap.SAME_ROW)

    def equal_prompts(self) -> None:
        """Held-out rows whose prompt the corpus has, with another answer."""
        if not any(self._table.is_heldout(row) for row in range(len(self._table))):
            return
        for rows in self._table.runs(self._table.prompt_keys):
            train, heldout = self._parted(rows)
            if train:
                self._overlap(heldout, train[0], Overlap.SAME_PROMPT)

    def near_rows(self) -> None:
        """Rows with most of their three-word sequences in common."""
        for band in range(N_BANDS):
            for rows in self._table.runs(self._table.band_keys(band)):
                fresh = [row for row in rows if self._has_words(row) and not self._repeats[row]]
                train, heldout = self._parted(fresh)
                self._compare(train)
                self._compare_heldout(heldout, train[:_MOST_COMPARED])

    def result(self) -> Likenesses:
        """The counts and examples."""
        roots = [self._root(row) for row in range(len(self._table))]
        joined = [row for row, root in enumerate(roots) if row != root]
        self._groups.sort(key=lambda group: (-group[0], group[1]))
        return Likenesses(
            repeated=self._repeated,
            repeated_groups=self._repeated_groups,
            near=len(joined),
            near_groups=len({roots[row] for row in joined}),
            heldout_same=self._heldout[Overlap.SAME_ROW],
            heldout_prompts=self._heldout[Overlap.SAME_PROMPT],
            heldout_near=self._heldout[Overlap.NEAR],
            groups=tuple(self._groups[:MOST_EXAMPLES]),
            near_pairs=tuple(sorted(self._pairs, reverse=True)),
            overlaps=tuple(self._examples[row] for row in sorted(self._examples)),
        )

    def _parted(self, rows: list[int]) -> tuple[list[int], list[int]]:
        """Rows of the corpus, and held-out ones."""
        is_heldout = self._table.is_heldout
        train = [row for row in rows if not is_heldout(row)]
        return train, [row for row in rows if is_heldout(row)]

    def _has_words(self, row: int) -> bool:
        return self._table.sketch(row) != _NO_WORDS

    def _keep_group(self, rows: list[int]) -> None:
        self._groups.append((len(rows), tuple(rows[:MOST_EXAMPLES])))
        if len(self._groups) > 100 * MOST_EXAMPLES:
            self._groups.sort(key=lambda group: (-group[0], group[1]))
            del self._groups[MOST_EXAMPLES:]

    def _overlap(self, heldout: list[int], train: int, how: Overlap, like: float = 1.0) -> None:
        for row in heldout:
            if not self._overlaps[row]:
                self._overlaps[row] = True
                self._heldout[how] += 1
                if len(self._examples) < MOST_EXAMPLES:
                    self._examples[row] = how, (like, row, train)

    def _compare(self, rows: list[int]) -> None:
        """Join each row with an earlier one of the band that it is nearly like."""
        leaders: list[tuple[int, bytes]] = []
        for row in rows:
            sketch = self._table.sketch(row)
            is_known = any(self._joins(row, sketch, *leader) for leader in leaders)
            if not is_known and len(leaders) < _MOST_COMPARED:
                leaders.append((row, sketch))

    def _joins(self, row: int, sketch: bytes, other: int, its_sketch: bytes) -> bool:
        one, two = self._root(row), self._root(other)
        if one == two:
            return True
        like = likeness(sketch, its_sketch)
        if like < self._table.least_likeness:
            return False
        self._parents[max(one, two)] = min(one, two)
        self._keep_pair((like, max(row, other), min(row, other)))
        return True

    def _keep_pair(self, pair: LikePair) -> None:
        if len(self._pairs) < MOST_EXAMPLES:
            heappush(self._pairs, pair)
        else:
            heappushpop(self._pairs, pair)

    def _compare_heldout(self, heldout: list[int], train: list[int]) -> None:
        for row in heldout:
            if self._overlaps[row]:
                continue
            sketch = self._table.sketch(row)
            for other in train:
                like = likeness(sketch, self._table.sketch(other))
                if like >= self._table.least_likeness:
                    self._overlap([row], other, Overlap.NEAR, like)
                    break

    def _root(self, row: int) -> int:
        parents = self._parents
        while parents[row] != row:
            parents[row] = parents[parents[row]]
            row = parents[row]
        return row
