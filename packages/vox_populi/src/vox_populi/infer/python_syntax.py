"""Checking whether a text is valid Python syntax. Nothing is run."""

from __future__ import annotations

import ast
import re
import textwrap
import warnings

_FENCED = re.compile(r"^```[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_MOST_CHARACTERS = 1 << 20
"""Longest text that is parsed; the parser's memory grows with it."""


def is_python(text: str) -> bool:
    """Whether Python's own parser accepts the code of a text, which must not be empty.

    If the text has fenced blocks, they are its code, one after another; otherwise all of it is,
    without common indentation.
    """
    code = textwrap.dedent("\n".join(_FENCED.findall(text)) or text)
    if not code.strip() or len(code) > _MOST_CHARACTERS:
        return False
    with warnings.catch_warnings():
        # Such as an unknown escape: valid, and not ours to complain about.
        warnings.simplefilter("ignore")
        try:
            ast.parse(code)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False
    return True
