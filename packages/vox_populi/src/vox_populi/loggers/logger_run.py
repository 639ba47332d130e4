"""A run in a logger: what each of them can do, and what it is told at its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from vox_populi.loggers.logged_values import Settings

PROJECT = "vox-mens"
"""Name of the project or experiment, where the operator's own configuration has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedRun:
    """A run as loggers know it."""

    name: str
    """Name of the run folder."""
    folder: Path
    """Folder for the logger's files, in the run folder."""
    settings: Settings
    known_as: str | None
    """The logger's own id of this run, if it is resumed."""
    first_step: int
    """Steps done before this session."""


class LoggerRun(Protocol):
    """One run in one logger; any of its methods may fail in whatever way it likes."""

    run_id: str
    """The logger's id, by which a resumed run is found again."""

    def log(self, step: int, values: Mapping[str, float], time_seconds: float) -> None:
        """Record the values of a step."""
        ...

    def finish(self, *, is_complete: bool) -> None:
        """Write everything, and mark the run as complete or failed."""
        ...
