"""Text from files, rows and models, made safe to show: what would act on a terminal is escaped.

Only escaping is decided here; `vox_cli.terminal` does the writing.
"""

from __future__ import annotations

import re

# C0 and C1 controls without newline and tab, DEL, line and paragraph separators, what reorders a
# line (bidirectional embeddings, overrides, isolates), and halves of characters.
_ACTS_ON_A_TERMINAL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_ENDS_A_CELL = re.compile("[\n\t]")


def visible(text: str) -> str:
    """Free text (a row, an answer): newlines and tabs stay, and so do all scripts."""
    return _ACTS_ON_A_TERMINAL.sub(_spelled, text)


def visible_line(text: str) -> str:
    """Free text on one line: newlines are escaped as well."""
    return _ENDS_A_CELL.sub(_spelled, visible(text))


def one_line(text: str) -> str:
    """A name or a sentence on one line: every invisible character is escaped.

    Stricter than `visible_line`: a no-break space in a path is shown as an escape.
    """
    return "".join(c if c.isprintable() else _spell(c) for c in text)


def json_safe(document: str) -> str:
    """Equivalent JSON text that cannot act on a terminal.

    In JSON such a character can only be inside a string, where it can be escaped.
    """
    return _ACTS_ON_A_TERMINAL.sub(lambda found: f"\\u{ord(found.group()):04x}", document)


def _spelled(found: re.Match[str]) -> str:
    return _spell(found.group())


def _spell(character: str) -> str:
    return character.encode("unicode_escape").decode()
