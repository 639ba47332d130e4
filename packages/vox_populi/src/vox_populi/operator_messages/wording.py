"""How sentences are built from parts: lists that are capped, names that are clipped."""

from __future__ import annotations

from collections.abc import Sequence

from vox_tensor.errors import Problem


def row_lines(lines: Sequence[int]) -> str:
    """The line numbers of rows; the pipeline puts their file in front."""
    shown = ",".join(str(line) for line in sorted(lines)[:10])
    more = f" and {len(lines) - 10} more" if len(lines) > 10 else ""
    return f"line {shown}{more}"


MAX_SHOWN = 20


_MAX_CLIPPED = 120


def clipped(text: object) -> str:
    """A name or value from a file, shortened to fit into a message."""
    shown = text if isinstance(text, str) else repr(text)
    return shown if len(shown) <= _MAX_CLIPPED else f"{shown[:_MAX_CLIPPED]}…"


def capped(problems: Sequence[Problem], most: int = MAX_SHOWN) -> tuple[Problem, ...]:
    """The first problems, and one that counts the rest."""
    if len(problems) <= most:
        return tuple(problems)
    rest = Problem(
        code=problems[most].code,
        what=f"and {len(problems) - most} more.",
        fix="Fix the problems above first.",
    )
    return (*problems[:most], rest)


def and_nearest(near: str | None) -> str:
    """The end of a sentence about a name that is not there."""
    return "" if near is None else f"; the closest name is {clipped(near)}"


def gib(size: int) -> str:
    """A size in memory or on a disk."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{max(size, 1) / 2**20:.0f} MiB"
