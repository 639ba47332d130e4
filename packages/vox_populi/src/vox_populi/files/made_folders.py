"""Folders that a command makes on the way to its output, and takes back when it makes none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


def make_folders(path: Path) -> tuple[Path, ...]:
    """Make a folder and its missing parents; returns those that were made, the innermost first.

    Raises:
        OSError: When the system refuses; what was made until then is gone again.
    """
    missing = []
    for folder in (path, *path.parents):
        if folder.exists():
            break
        missing.append(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        remove_empty(missing)
        raise
    return tuple(missing)


def remove_empty(made: Sequence[Path]) -> None:
    """Remove what `make_folders` made, as far as nothing is in it."""
    for folder in made:
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def made_folder(path: Path) -> Iterator[None]:
    """Make a folder and its missing parents; take back what stays empty when the body raises.

    Raises:
        OSError: When the system refuses; what was made until then is gone again.
    """
    made = make_folders(path)
    try:
        yield
    except BaseException:
        remove_empty(made)
        raise
