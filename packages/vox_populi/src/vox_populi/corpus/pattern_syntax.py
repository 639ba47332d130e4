r"""The syntax of a pattern, parsed to a tree: the subset of `re` that `line_pattern` can search.

What is outside of it is refused by name: lookaround, backreferences, lazy repeats, flags.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn, TypeAlias

MAX_PATTERN_CHARS = 500
MAX_REPEAT = 50
_MAX_DEPTH = 50

Takes: TypeAlias = Callable[[str], bool]


class PatternRefusedError(ValueError):
    """A pattern that cannot be searched, with the reason."""


class CheckKind(StrEnum):
    """The checks of a place that take no character."""

    START = "^"
    END = "$"
    BORDER = "b"
    NO_BORDER = "B"


@dataclass(frozen=True, slots=True)
class OneOf:
    """Any one of some characters."""

    takes: Takes
    literal: str = ""
    """The character, if it is only one."""


@dataclass(frozen=True, slots=True)
class Check:
    """A place in the line."""

    kind: CheckKind


@dataclass(frozen=True, slots=True)
class Sequence:
    """Parts one after the other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alternatives:
    """One of several parts."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A part several times."""

    part: Node
    least: int
    most: int | None
    """`None` for any number."""


Node: TypeAlias = OneOf | Check | Sequence | Alternatives | Repeat

_CLASSES: dict[str, Takes] = {
    "d": str.isdecimal,
    "s": str.isspace,
    "w": lambda character: character == "_" or character.isalnum(),
}
_CONTROLS = {"t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_REPEATS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


def parse_pattern(text: str, *, ignore_case: bool) -> Node:
    """Parse a pattern.

    Raises:
        PatternRefusedError: With the reason, for one outside of the subset.
    """
    if len(text) > MAX_PATTERN_CHARS:
        reason = f"it has more than {MAX_PATTERN_CHARS} characters"
        raise PatternRefusedError(reason)
    if "\n" in text:
        reason = "a pattern is searched for in one line and cannot have a line break"
        raise PatternRefusedError(reason)
    parser = _Parser(text, ignore_case=ignore_case)
    node = parser.alternatives(0)
    if parser.peek():
        reason = f"there is a ) without a ( at character {parser.position + 1}"
        raise PatternRefusedError(reason)
    return node


class _Parser:
    """Reads a pattern from start to end."""

    def __init__(self, text: str, *, ignore_case: bool) -> None:
        self._text = text
        self._ignore_case = ignore_case
        self.position = 0

    def peek(self) -> str:
        """The next character; empty at the end."""
        return self._text[self.position : self.position + 1]

    def alternatives(self, depth: int) -> Node:
        """Everything up to a closing parenthesis or the end."""
        if depth > _MAX_DEPTH:
            reason = f"groups are nested more than {_MAX_DEPTH} deep"
            raise PatternRefusedError(reason)
        parts = [self._sequence(depth)]
        while self._accept("|"):
            parts.append(self._sequence(depth))
        return parts[0] if len(parts) == 1 else Alternatives(tuple(parts))

    def _sequence(self, depth: int) -> Node:
        parts: list[Node] = []
        while self.peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom(depth)))
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def _repeated(self, atom: Node) -> Node:
        character = self.peek()
        if character not in ("*", "+", "?", "{"):
            return atom
        if isinstance(atom, Check) and self._text[self.position - 1] != ")":
            self._refuse("a place cannot be repeated")
        self.position += 1
        least, most = self._bounds() if character == "{" else _REPEATS[character]
        if self.peek() in ("*", "+", "?", "{"):
            self._refuse("lazy, possessive and double repeats are not supported")
        return Repeat(atom, least, most)

    def _bounds(self) -> tuple[int, int | None]:
        end = self._text.find("}", self.position)
        parts = self._text[self.position : max(end, self.position)].split(",")
        numbers = [part if part.isascii() and part.isdecimal() else None for part in parts]
        open_end = len(parts) == 2 and not parts[1]
        if len(parts) > 2 or numbers[0] is None or (numbers[-1] is None and not open_end):
            self._refuse("{ starts a repeat such as {2} or {1,3}; write \\{ for the character")
        self.position = end + 1
        least = int(numbers[0] or 0)
        most = None if open_end else int(numbers[-1] or 0)
        if max(least, most or 0) > MAX_REPEAT:
            self._refuse(f"a repeat has at most {MAX_REPEAT} times")
        if most is not None and most < least:
            self._refuse("the bounds of a repeat are in the wrong order")
        return least, most

    def _atom(self, depth: int) -> Node:
        character = self._take()
        match character:
            case "(":
                return self._group(depth)
            case "[":
                return OneOf(self._class())
            case ".":
                return OneOf(lambda _: True)
            case "^" | "$":
                return Check(CheckKind(character))
            case "\\":
                return self._escape()
            case "*" | "+" | "?" | "{":
                self.position -= 1
                self._refuse("there is nothing to repeat")
        return OneOf(self._cased(frozenset(character).__contains__), character)

    def _group(self, depth: int) -> Node:
        if self._accept("?") and not self._accept(":"):
            self._refuse("lookaround, names and flags in a group are not supported")
        node = self.alternatives(depth + 1)
        if not self._accept(")"):
            self._refuse("a ( is not closed")
        return node

    def _escape(self) -> Node:
        character = self._take()
        if character in ("b", "B"):
            return Check(CheckKind(character))
        literal = "" if character.isalnum() else character
        return OneOf(self._cased(self._escaped(character)), literal)

    def _escaped(self, character: str) -> Takes:
        """What a backslash and a character stand for."""
        known = _CLASSES.get(character.lower())
        if known is not None:
            return known if character.islower() else lambda each: not known(each)
        if character in _CONTROLS:
            return frozenset(_CONTROLS[character]).__contains__
        if not character or character.isalnum():
            self._refuse(f"\\{character} is not supported")
        return frozenset(character).__contains__

    def _class(self) -> Takes:
        is_negated = self._accept("^")
        members: list[Takes] = []
        while self.peek() != "]" or not members:
            members.append(self._class_member())
        self.position += 1
        # Case is ignored before the class is negated: [^a] matches neither a nor A then.
        is_member = self._cased(lambda character: any(takes(character) for takes in members))
        return (lambda character: not is_member(character)) if is_negated else is_member

    def _class_member(self) -> Takes:
        character = self._take()
        if not character:
            self._refuse("a [ is not closed")
        if character == "\\":
            taken = self._escaped(self._take())
            if self.peek() == "-" and self._text[self.position + 1 : self.position + 2] != "]":
                self._refuse("a range starts with a plain character")
            return taken
        if self.peek() != "-" or self._text[self.position + 1 : self.position + 2] in ("", "]"):
            return frozenset(character).__contains__
        self.position += 1
        last = self._take()
        if last == "\\" or last < character:
            self._refuse("a range ends with a plain character after its first")
        return lambda each: character <= each <= last

    def _cased(self, takes: Takes) -> Takes:
        if not self._ignore_case:
            return takes
        return lambda each: takes(each) or takes(each.lower()) or takes(each.upper())

    def _take(self) -> str:
        character = self.peek()
        self.position += len(character)
        return character

    def _accept(self, character: str) -> bool:
        if self.peek() != character:
            return False
        self.position += 1
        return True

    def _refuse(self, reason: str) -> NoReturn:
        message = f"{reason} (at character {self.position + 1})"
        raise PatternRefusedError(message)
