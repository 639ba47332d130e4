"""Pieces of readable reports. `--json` prints the reports themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vox_cli.text_width import cells, padded
from vox_tensor.visible_text import one_line

Rows = Iterable[tuple[str, object]]


def aligned(rows: Rows) -> str:
    """Names and values, one pair per line; pairs without a value are left out.

    Both may come from files, so line breaks in them are escaped and cannot forge a line.
    """
    shown = [(one_line(name), one_line(str(value))) for name, value in rows if value is not None]
    width = max((cells(name) for name, _ in shown), default=0)
    return "\n".join(f"{padded(name, width)}  {value}" for name, value in shown)


def bytes_text(count: int | None) -> str | None:
    """A number of bytes in a suitable unit."""
    if count is None:
        return None
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def counts_text(counts: Mapping[str, int]) -> str:
    """Counts by name in parentheses, preceded by a space; empty if there are none."""
    parts = [f"{name} {count:,}" for name, count in counts.items()]
    return f" ({', '.join(parts)})" if parts else ""


def set_in(text: str) -> str:
    """Indented free text, so that none of its lines can be mistaken for our output."""
    return text.replace("\n", "\n  ")
