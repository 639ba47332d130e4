"""A suite of a scorecard from its YAML file, with the files of its tasks."""

from __future__ import annotations

from pathlib import Path

from vox_cli.task_file_reader import task_files
from vox_cli.yaml_values import read_yaml
from vox_populi.evals.scorecard_suite import parse_suite
from vox_populi.pipeline.scorecard import SuiteFiles


def read_suite(path: Path) -> SuiteFiles:
    """Read a suite; its task files are relative to its folder.

    Raises:
        ConfigError: When it cannot be read or used.
    """
    suite = parse_suite(read_yaml(path), str(path))
    files = task_files(path.parent / name for name in suite.task_files)
    return SuiteFiles(path=path, suite=suite, files=files)
