r"""Patterns of a rule file, searched for in time linear in the text, whatever the pattern.

Python's `re` backtracks: `(a+)+$` takes hours on 40 characters, and cannot be interrupted. Here a
pattern becomes an automaton whose sets of states are found as a text needs them, and forgotten
when there are too many. The syntax is a subset of `re` with the same meaning: literals, `.`,
classes, `\d \w \s \b` and their opposites, groups, `|`, `* + ?`, `{m,n}`, `^` and `$`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from vox_populi.corpus.pattern_syntax import (
    Alternatives,
    Check,
    CheckKind,
    Node,
    OneOf,
    PatternRefusedError,
    Repeat,
    Sequence,
    parse_pattern,
)

MAX_STATES = 250
_MAX_KEPT = 200_000
"""Number of states in the sets that are remembered."""


@dataclass(frozen=True, slots=True)
class _Step:
    """A state that takes one character."""

    takes: Callable[[str], bool]
    following: int


@dataclass(frozen=True, slots=True)
class _Fork:
    """A state that takes nothing and leads to others."""

    following: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Gate:
    """A state that takes nothing and leads to another if the place is right."""

    kind: CheckKind
    following: int


_MATCHED = 0
"""Number of the state that means a match."""


@dataclass(slots=True, eq=False)
class _Place:
    """States that a text has led to, with what came before; transitions are added as needed."""

    states: frozenset[int]
    before: str
    """The character before; empty at the start of a line."""
    edges: dict[str, _Place | None] = field(default_factory=dict)
    """The next place by character; `None` for a match."""
    matches_end: bool | None = None
    """Whether a match ends where the line does; `None` where that was never asked."""


class LinePattern:
    """A compiled pattern.

    Args:
        text: The pattern.
        ignore_case: Whether upper and lower case are the same.

    Raises:
        PatternRefusedError: For a pattern outside of the subset, one that is too large, or one
            that an empty line matches.
    """

    def __init__(self, text: str, *, ignore_case: bool = False) -> None:
        self._states: list[_Step | _Fork | _Gate] = [_Fork(())]
        tree = parse_pattern(text, ignore_case=ignore_case)
        self._start = self._build(tree, _MATCHED)
        self._ignore_case = ignore_case
        needed = _needed_text(tree)
        self._needed = needed.lower() if ignore_case else needed
        self._places: dict[tuple[frozenset[int], str], _Place] = {}
        self._n_kept = 0
        if self.search(""):
            reason = "it matches an empty line, and so every line"
            raise PatternRefusedError(reason)

    def search(self, line: str) -> bool:
        """Whether a line, without its end, contains a match."""
        if not self.may_be_in(line):
            return False
        place = self._place(frozenset(), "")
        for character in line:
            edges = place.edges
            known = character in edges
            following = edges[character] if known else self._follow(place, character)
            if following is None:
                return True
            place = following
        if place.matches_end is None:
            place.matches_end = _MATCHED in self._closure(place, "")
        return place.matches_end

    def may_be_in(self, text: str) -> bool:
        """Whether a line of a text could contain a match; a look at the whole is cheap."""
        return self._needed in (text.lower() if self._ignore_case else text)

    def _place(self, states: frozenset[int], before: str) -> _Place:
        kind = before if not before else "w" if _is_word(before) else " "
        key = states, kind
        place = self._places.get(key)
        if place is None:
            place = self._places[key] = _Place(states, kind)
        return place

    def _follow(self, place: _Place, character: str) -> _Place | None:
        """The place after a character, which is remembered."""
        if self._n_kept >= _MAX_KEPT:
            self._places.clear()
            self._n_kept = 0
        reached = self._closure(place, character)
        following: _Place | None = None
        if _MATCHED not in reached:
            steps = (state for each in reached if isinstance(state := self._states[each], _Step))
            taken = frozenset(step.following for step in steps if step.takes(character))
            following = self._place(taken, character)
        place.edges[character] = following
        self._n_kept += 1 + len(reached)
        return following

    def _closure(self, place: _Place, after: str) -> set[int]:
        """Every state reached without taking a character; a match may start anywhere."""
        reached: set[int] = set()
        waiting = [self._start, *place.states]
        while waiting:
            number = waiting.pop()
            if number in reached:
                continue
            reached.add(number)
            match self._states[number]:
                case _Fork(following):
                    waiting += following
                case _Gate(kind, following) if _holds(kind, place.before, after):
                    waiting.append(following)
        return reached

    def _build(self, node: Node, following: int) -> int:
        """Add the states of a part of the pattern; return its first."""
        match node:
            case OneOf(takes, _):
                return self._add(_Step(takes, following))
            case Check(kind):
                return self._add(_Gate(kind, following))
            case Sequence(parts):
                for part in reversed(parts):
                    following = self._build(part, following)
                return following
            case Alternatives(parts):
                return self._add(_Fork(tuple(self._build(part, following) for part in parts)))
            case Repeat(part, least, most):
                return self._build_repeat(part, least, most, following)

    def _build_repeat(self, part: Node, least: int, most: int | None, following: int) -> int:
        if most is None:
            # The fork comes before what it repeats, which leads back to it.
            fork = self._add(_Fork(()))
            self._states[fork] = _Fork((self._build(part, fork), following))
            following = fork
        for _ in range(0 if most is None else most - least):
            following = self._add(_Fork((self._build(part, following), following)))
        for _ in range(least):
            following = self._build(part, following)
        return following

    def _add(self, state: _Step | _Fork | _Gate) -> int:
        if len(self._states) >= MAX_STATES:
            reason = f"it is larger than {MAX_STATES} states; use smaller repeats"
            raise PatternRefusedError(reason)
        self._states.append(state)
        return len(self._states) - 1


def _needed_text(tree: Node) -> str:
    """The longest ASCII text that every match contains."""
    parts = tree.parts if isinstance(tree, Sequence) else (tree,)
    longest = run = ""
    for part in parts:
        literal = part.literal if isinstance(part, OneOf) and part.literal.isascii() else ""
        run = run + literal if literal else ""
        longest = max(longest, run, key=len)
    return longest


def _is_word(character: str) -> bool:
    r"""Whether a character is one that `\w` matches."""
    return character == "_" or character.isalnum()


def _holds(kind: CheckKind, before: str, after: str) -> bool:
    """Whether a check holds between two characters; either is empty at an end of the line."""
    if kind is CheckKind.START:
        return not before
    if kind is CheckKind.END:
        return not after
    # A place has "w" or a space in the place of the character before.
    is_border = (before == "w") is not (after != "" and _is_word(after))
    return is_border is (kind is CheckKind.BORDER)
