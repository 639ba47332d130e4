"""Folders that a command creates for its output, and removes if there is no output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


def make_folders(path: Path) -> tuple[Path, ...]:
    """Create a folder and its missing parents; return the created ones, innermost first.

    Raises:
        OSError: When the system refuses; folders created so far are removed.
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
    """Remove the folders created by `make_folders` that are empty."""
    for folder in made:
        with suppress(OSError):
            folder.rmdir()


@contextmanager
def made_folder(path: Path) -> Iterator[None]:
    """Create a folder and its missing parents; if the body raises, remove those that are empty.

    Raises:
        OSError: When the system refuses; folders created so far are removed.
    """
    made = make_folders(path)
    try:
        yield
    except BaseException:
        remove_empty(made)
        raise
