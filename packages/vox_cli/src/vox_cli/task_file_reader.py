"""Task files by their ending: YAML and JSON are read here, JSON Lines by the reader of tasks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vox_cli.yaml_values import read_yaml
from vox_populi.evals.task_files import TaskFile

_DOCUMENTS = (".yaml", ".yml", ".json")


def task_files(paths: Iterable[Path]) -> tuple[TaskFile, ...]:
    """The files with the content of those that are one document.

    Raises:
        ConfigError: When one cannot be read.
    """
    return tuple(
        TaskFile(path, read_yaml(path) or {}) if path.suffix in _DOCUMENTS else TaskFile(path)
        for path in paths
    )
