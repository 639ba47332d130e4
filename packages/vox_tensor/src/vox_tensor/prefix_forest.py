"""Packing rows so that what several of them begin with is computed once. No torch.

The rows of a step form a forest: a segment is a run of tokens that some rows have in common, and
the segments below it are how they continue. A row is the path from a root to where it ends.
Equal rows, and a row that a longer one begins with, need no segment of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from vox_tensor.packing import Segment, Window, best_fit, pack_rows


@dataclass(frozen=True, slots=True)
class SharingRule:
    """Which segments are worth having.

    What follows a shared segment costs one more call of attention, and a merge of its result, in
    every layer: about what a few hundredths of its tokens cost.
    """

    least_length: int = 16
    """Fewest tokens of a shared segment."""
    least_saved: int = 32
    """Fewest tokens that a shared segment saves."""
    least_part: float = 1 / 32
    """Smallest part of the tokens below it that a shared segment saves."""

    def keeps(self, length: int, n_ways: int, n_below: int) -> bool:
        """Whether a segment of some length, which continues in some ways, is worth having."""
        saved = length * (n_ways - 1)
        return (
            length >= self.least_length
            and saved >= self.least_saved
            and saved >= self.least_part * n_below
        )


WHAT_PAYS = SharingRule()


def pack_shared(
    rows: Sequence[Sequence[int]], capacity: int, rule: SharingRule = WHAT_PAYS
) -> tuple[Window, ...]:
    """Place rows into windows of at most `capacity` distinct tokens, sharing what they begin with.

    The windows follow from rows and capacity alone. Rows that have nothing to share give the
    windows of `pack_rows`.

    Args:
        rows: Token ids of each row.
        capacity: Largest number of tokens in a window; a shared token counts once.
        rule: Which segments are shared.

    Raises:
        ValueError: For a row that is empty or longer than `capacity`.
    """
    unshared = pack_rows([len(row) for row in rows], capacity)
    pieces = [piece for root in _worthwhile(_forest(rows), rule) for piece in _cut(root, capacity)]
    if all(len(piece.rows) == 1 for piece in pieces):
        return unshared
    pieces.sort(key=lambda piece: min(piece.rows))
    packed = best_fit([piece.n_tokens for piece in pieces], capacity)
    return tuple(_joined([pieces[i] for i in chosen], rows) for chosen in packed)


@dataclass(slots=True, eq=False)
class _Node:
    """Tokens `first` to `end` of its rows; a leaf has the rows that end in it or above it."""

    first: int
    end: int
    below: list[_Node] = field(default_factory=list)
    rows: tuple[int, ...] = ()
    """The rows of a leaf: its longest one first, and those that this one begins with."""


_Path = tuple[_Node, ...]


@dataclass(slots=True)
class _Piece:
    """Neighbouring leaves of a tree that go into one window."""

    paths: list[_Path] = field(default_factory=list)
    n_tokens: int = 0

    @property
    def rows(self) -> list[int]:
        return [row for path in self.paths for row in path[-1].rows]


def _forest(rows: Sequence[Sequence[int]]) -> list[_Node]:
    """The trees of all rows, with a node wherever rows part.

    Sorted rows are added one by one. Only the path to the newest leaf can still branch: what the
    next row has in common with this one is what it has in common with any row before.
    """
    roots: list[_Node] = []
    path: list[_Node] = []
    for leaf, common in _leaves(rows):
        parted = None
        while path and path[-1].end > common:
            parted = path.pop()
        siblings = path[-1].below if path else roots
        leaf.first = common
        if parted is not None and parted.first < common:
            siblings[-1] = upper = _Node(parted.first, common, [parted, leaf])
            parted.first = common
            path.append(upper)
        else:
            siblings.append(leaf)
        path.append(leaf)
    return roots


def _worthwhile(roots: list[_Node], rule: SharingRule) -> list[_Node]:
    """The same trees without the nodes that the rule does not keep; those below begin earlier."""
    order, waiting = [], list(roots)
    while waiting:
        node = waiting.pop()
        order.append(node)
        waiting.extend(node.below)
    kept: dict[_Node, list[_Node]] = {}
    n_tokens: dict[_Node, int] = {}
    for node in reversed(order):
        node.below = [each for below in node.below for each in kept.pop(below)]
        length, n_below = node.end - node.first, sum(n_tokens[each] for each in node.below)
        n_tokens[node] = length + n_below
        kept[node] = [node]
        if node.below and not rule.keeps(length, len(node.below), n_below):
            kept[node] = node.below
            for each in node.below:
                each.first = node.first
                n_tokens[each] += length
    return [each for root in roots for each in kept[root]]


def _leaves(rows: Sequence[Sequence[int]]) -> Iterator[tuple[_Node, int]]:
    """A leaf for each row that no other begins with, and what it shares with the one before."""
    order = sorted(range(len(rows)), key=lambda i: (rows[i], i))
    waiting: list[int] = []
    common = 0
    for index, row in enumerate(order):
        length = len(rows[row])
        following = order[index + 1] if index + 1 < len(order) else None
        shared = 0 if following is None else common_length(rows[row], rows[following])
        waiting.append(row)
        if following is None or shared < length:
            yield _Node(0, length, rows=tuple(reversed(waiting))), common
            waiting, common = [], shared


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    """Number of elements that two sequences begin with alike."""
    shorter = min(len(a), len(b))
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), shorter)


def _paths(root: _Node) -> Iterator[_Path]:
    """The path to each leaf, in the order of sorted rows."""
    stack: list[_Path] = [(root,)]
    while stack:
        path = stack.pop()
        if path[-1].below:
            stack.extend((*path, node) for node in reversed(path[-1].below))
        else:
            yield path


def _cut(root: _Node, capacity: int) -> Iterator[_Piece]:
    """A tree in as many pieces as its tokens need; each begins with its own copy of a prefix."""
    piece = _Piece()
    for path in _paths(root):
        known = piece.paths[-1] if piece.paths else ()
        # Neighbours have their paths in common up to where they part, and nothing after it.
        parted = sum(one is other for one, other in zip(path, known, strict=False))
        added = path[-1].end - path[parted].first
        if piece.paths and piece.n_tokens + added > capacity:
            yield piece
            piece, added = _Piece(), path[-1].end
        piece.paths.append(path)
        piece.n_tokens += added
    yield piece


def _joined(pieces: Sequence[_Piece], rows: Sequence[Sequence[int]]) -> Window:
    segments: list[Segment] = []
    ends: list[tuple[int, int]] = []
    for piece in pieces:
        ends.extend(_place(piece, rows, segments))
    is_shared = len(segments) < len(ends) or any(each.parent is not None for each in segments)
    return Window(tuple(segments), tuple(sorted(ends)) if is_shared else ())


def _place(
    piece: _Piece, rows: Sequence[Sequence[int]], segments: list[Segment]
) -> Iterator[tuple[int, int]]:
    """Append the piece's segments; the segment in which each of its rows ends."""
    n_below = Counter(upper for upper, _ in {pair for p in piece.paths for pair in pairwise(p)})
    places: dict[_Node, int] = {}
    for path in piece.paths:
        above: int | None = None
        for node, upper in zip(path, (None, *path), strict=False):
            if node not in places:
                if upper is None or above is None or n_below[upper] > 1:
                    start = segments[-1].start + segments[-1].length if segments else 0
                    segments.append(Segment(path[-1].rows[0], start, 0, above, node.first))
                    places[node] = len(segments) - 1
                else:
                    # Its siblings went to another window, so it goes on with the same segment.
                    places[node] = above
                grown = segments[places[node]]
                length = node.end - grown.position
                segments[places[node]] = replace(grown, length=length)
            above = places[node]
        for row in path[-1].rows:
            index = above
            while index is not None and segments[index].position >= len(rows[row]):
                index = segments[index].parent
            assert index is not None, "a root begins at the first token"
            yield row, index
