"""What an exported adapter calls its base, so that a program can load it. No torch here."""

from __future__ import annotations

from pathlib import Path

_REPOSITORY = "models--"


def loadable_name(folder: Path) -> str:
    """The hub's name of a folder in its cache, such as `org/name`; the absolute path of others."""
    home = folder.resolve()
    repository = home.parent.parent.name
    if home.parent.name == "snapshots" and repository.startswith(_REPOSITORY):
        return "/".join(repository.removeprefix(_REPOSITORY).split("--"))
    return str(home)
