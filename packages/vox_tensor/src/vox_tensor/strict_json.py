"""JSON as the standard defines it: what Python's parser accepts beyond that is refused by name."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable

from vox_tensor import data_messages as say
from vox_tensor.errors import DataError, Problem

MAX_DEPTH = 100
"""Largest nesting depth. Python's own limit depends on the depth of the caller."""
MAX_INTEGER_DIGITS = 1000
"""Limit on digits, since parsing an integer takes time quadratic in them."""

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str, where: str) -> object:
    """Parse one JSON value.

    Refuses what `json.loads` accepts: a repeated key, NaN, infinities (also by overflow, as in
    `1e999`), lone surrogates, integers beyond 1000 digits and nesting beyond 100 levels.

    Args:
        text: The value, with nothing but whitespace around it; decoded from UTF-8.
        where: Where it comes from, for the message.

    Raises:
        DataError: With one problem, which never repeats any of the text.
    """
    try:
        value: object = _DECODER.decode(text)
        _check_depth(text, value)
        _check_strings(text, value)
    except json.JSONDecodeError as error:
        # What follows a colon in the parser's message may be a piece of the line.
        reason = error.msg.partition(": ")[0].removesuffix(" at")
        raise DataError(say.not_json(reason, error.pos + 1).at(where)) from None
    except RecursionError:
        raise DataError(say.nested_too_deeply(MAX_DEPTH).at(where)) from None
    except _RefusedError as refusal:
        raise DataError(refusal.problem_at(where)) from None
    return value


class _RefusedError(Exception):
    """Carries a message out of the parser, which does not have the place."""

    def __init__(self, problem_at: Callable[[str], Problem]) -> None:
        self.problem_at = problem_at


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _RefusedError(say.REPEATED_KEY.at)
    return value


def _no_constant(_name: str) -> object:
    raise _RefusedError(say.NOT_A_JSON_NUMBER.at)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise _RefusedError(say.NOT_A_JSON_NUMBER.at)
    return value


def _short_integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise _RefusedError(lambda where: say.integer_too_long(MAX_INTEGER_DIGITS).at(where))
    return int(digits)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique_keys,
    parse_constant=_no_constant,
    parse_float=_finite,
    parse_int=_short_integer,
)


def _check_strings(text: str, value: object) -> None:
    """Refuse lone surrogates; only an escape in their range can produce one."""
    if not _SURROGATE_ESCAPE.search(text):
        return
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise _RefusedError(say.LONE_SURROGATE.at) from None


def _check_depth(text: str, value: object) -> None:
    """Refuse deep nesting; a text with few brackets cannot have it."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    if any(isinstance(node, dict | list) for node in level):
        raise _RefusedError(lambda where: say.nested_too_deeply(MAX_DEPTH).at(where))


def _children(node: object) -> list[object]:
    if isinstance(node, dict):
        return list(node.values())
    return node if isinstance(node, list) else []
