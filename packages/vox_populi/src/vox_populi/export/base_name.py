"""What an exported adapter calls its base, so that a program can load it. No torch here."""

from __future__ import annotations

from pathlib import Path

from vox_populi.hf.hub_name import hub_origin


def loadable_name(folder: Path) -> str:
    """The hub's name of a folder in its cache, such as `org/name`; the absolute path of others."""
    origin = hub_origin(folder)
    return str(folder.resolve()) if origin is None else origin.repository
