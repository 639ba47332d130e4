"""Checking whether a text is valid Python syntax. Nothing is run."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings

_FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_MOST_CHARACTERS = 1 << 20
"""Longest text that is parsed; the parser's memory grows with it."""


def fenced_or_all(text: str) -> str:
    """The fenced blocks of a text, one after another; without any, all of it."""
    return "\n".join(_FENCED.findall(text)) or text


def is_python(text: str) -> bool:
    """Whether Python's own parser accepts the code of a text, which must not be empty.

    If the text has fenced blocks, they are its code, one after another; otherwise all of it is,
    without common indentation.
    """
    return python_problem(textwrap.dedent(fenced_or_all(text))) is None


def python_problem(code: str) -> str | None:
    """Why Python's parser does not accept code; `None` if it does."""
    return None if parsed(code) is not None else _reason(code)


def parsed(code: str) -> ast.Module | None:
    """The syntax tree of code; `None` for code that is empty, too long or not Python."""
    if not code.strip() or len(code) > _MOST_CHARACTERS:
        return None
    try:
        return _tree(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _tree(code: str) -> ast.Module:
    with warnings.catch_warnings():
        # Such as an unknown escape: valid, and not ours to complain about.
        warnings.simplefilter("ignore")
        return ast.parse(code)


def _reason(code: str) -> str:
    if not code.strip():
        return "there is no code"
    if len(code) > _MOST_CHARACTERS:
        return f"it is longer than {_MOST_CHARACTERS} characters"
    try:
        _tree(code)
    except SyntaxError as error:
        return f"{error.msg} (line {error.lineno})"
    except (ValueError, RecursionError, MemoryError) as error:
        return type(error).__name__
    return ""
