"""Task files by their ending, and suites with their task files.

YAML and JSON are read here, JSON Lines by the reader of tasks.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vox_cli.yaml_values import read_yaml
from vox_populi.evals.scorecard_suite import parse_suite
from vox_populi.evals.task_files import TaskFile
from vox_populi.pipeline.scorecard import SuiteFiles

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


def read_suite(path: Path) -> SuiteFiles:
    """Read a suite; its task files are relative to its folder.

    Raises:
        ConfigError: When it cannot be read or used.
    """
    suite = parse_suite(read_yaml(path), str(path))
    files = task_files(path.parent / name for name in suite.task_files)
    return SuiteFiles(path=path, suite=suite, files=files)
