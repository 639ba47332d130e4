"""From the text of a flag, an environment variable or a config file to a typed value.

All three sources go through the same functions, so that a value means the same everywhere and a
bad one is refused in the same words. Ranges of a training run are the contract's concern.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import typer

from vox_populi import operator_messages as say
from vox_populi.errors import ConfigError
from vox_tensor.errors import Problem

ValueT = TypeVar("ValueT")
KindT = TypeVar("KindT", bound=StrEnum)


class ValueRefusedError(typer.BadParameter):
    """A value that its setting cannot take; whoever catches it knows which setting that is.

    Typer adds the parameter to its own exceptions, so this is one of them.
    """

    def __init__(self, *problems: Problem) -> None:
        super().__init__(str(problems[0]))
        self.problems = problems


def whole_number(at_least: int | None = None) -> Callable[[str], int]:
    """Parser of integers."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueRefusedError(say.value_not_whole(text)) from None
        if at_least is not None and value < at_least:
            raise ValueRefusedError(say.value_out_of_range(text, f"from {at_least} on"))
        return value

    return parse


def number(text: str) -> float:
    """Parse a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueRefusedError(say.value_not_number(text))
    return value


def temperature(text: str) -> float:
    """Parse a number from zero on."""
    value = number(text)
    if value < 0:
        raise ValueRefusedError(say.value_out_of_range(text, "from 0 on"))
    return value


def probability_mass(text: str) -> float:
    """Parse a share of a distribution: above 0, at most 1."""
    value = number(text)
    if not 0 < value <= 1:
        raise ValueRefusedError(say.value_out_of_range(text, "above 0, at most 1"))
    return value


def positive_number(text: str) -> float:
    """Parse a number above zero."""
    value = number(text)
    if value <= 0:
        raise ValueRefusedError(say.value_out_of_range(text, "above 0"))
    return value


def one_of(kind: type[KindT]) -> Callable[[str], KindT]:
    """Parser of a closed set's members, in whatever case they are written."""
    names = tuple(member.value for member in kind)

    def parse(text: str) -> KindT:
        try:
            return kind(text.strip().lower())
        except ValueError:
            raise ValueRefusedError(say.choice_unknown("", text, names)) from None

    return parse


def contract_word(parse: Callable[[str], ValueT]) -> Callable[[str], ValueT]:
    """Adopt a parser of the contract, which knows more words than its closed set has members."""

    def parse_word(text: str) -> ValueT:
        try:
            return parse(text)
        except ConfigError as error:
            raise ValueRefusedError(*error.problems) from None

    return parse_word


def any_text(text: str) -> str:
    """Take text as it is."""
    return text


def path(text: str) -> Path:
    """Parse a path; a leading `~` is the home folder, as in a shell."""
    if not text or "\0" in text:
        raise ValueRefusedError(say.value_not_path(text))
    try:
        return Path(text).expanduser()
    except RuntimeError:
        # A user without a home folder: the path may still name something.
        return Path(text)


def truth(text: str) -> bool:
    """Parse yes or no, as YAML and people write them."""
    words = {"true": True, "yes": True, "on": True, "1": True}
    words |= {"false": False, "no": False, "off": False, "0": False}
    word = text.strip().lower()
    if word not in words:
        raise ValueRefusedError(say.choice_unknown("", text, ("true", "false")))
    return words[word]
