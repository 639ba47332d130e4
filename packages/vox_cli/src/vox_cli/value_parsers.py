"""Parsing the text of a flag, an environment variable or a config file into a typed value.

All three sources use the same functions, so that a value means the same everywhere and a bad one
gives the same message. The contract checks the ranges of a training run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from vox_cli.refused_value import ValueRefusedError
from vox_populi.contract.choices import parse_choice
from vox_populi.contract.template_word import parse_day
from vox_populi.errors import ConfigError
from vox_populi.number_ranges import NumberRange, NumberSet
from vox_populi.operator_messages import contract as say_contract
from vox_populi.operator_messages import usage as say_usage
from vox_populi.operator_messages.wording import clipped

# One slash: a path that was one already has lost the other.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")

ValueT = TypeVar("ValueT")
KindT = TypeVar("KindT", bound=StrEnum)


def whole_number(allowed: NumberRange | NumberSet | None = None) -> Callable[[str], int]:
    """Parser of integers."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueRefusedError(say_usage.value_not_whole(clipped(text))) from None
        _require(value, allowed, text)
        return value

    return parse


def number(allowed: NumberRange | NumberSet | None = None) -> Callable[[str], float]:
    """Parser of finite numbers."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueRefusedError(say_usage.value_not_number(clipped(text)))
        _require(value, allowed, text)
        return value

    return parse


def _require(value: float, allowed: NumberRange | NumberSet | None, text: str) -> None:
    if allowed is not None and not allowed.holds(value):
        raise ValueRefusedError(say_usage.value_out_of_range(clipped(text), str(allowed)))


def one_of(kind: type[KindT], words: Mapping[str, KindT] | None = None) -> Callable[[str], KindT]:
    """Parser of a closed set's members, in whatever case they are written.

    Args:
        kind: The set.
        words: Every accepted word; `None` for the members' own.
    """
    understood = {member.value: member for member in kind} if words is None else words
    return contract_word(lambda text: parse_choice("", text, understood))


def contract_word(parse: Callable[[str], ValueT]) -> Callable[[str], ValueT]:
    """Adopt a parser of the contract, which accepts more words than its closed set has members."""

    def parse_word(text: str) -> ValueT:
        try:
            return parse(text)
        except ConfigError as error:
            raise ValueRefusedError(*error.problems) from None

    return parse_word


def day(text: str) -> str:
    """Read the date of a template."""
    return contract_word(parse_day)(text)


def any_text(text: str) -> str:
    """Take text as it is."""
    return text


def path(text: str) -> Path:
    """Parse a path; a leading `~` is the home folder, as in a shell.

    A URL is refused here, while it is still intact: as a path it would lose a slash.
    """
    if not text or "\0" in text:
        raise ValueRefusedError(say_usage.value_not_path(text))
    if _URL.match(text):
        raise ValueRefusedError(say_usage.value_is_url(text))
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
        raise ValueRefusedError(say_contract.choice_unknown(text, ("true", "false")).at(""))
    return words[word]
