"""`vox mens init`: a folder to start from, with a config, a small data set and a README."""

from __future__ import annotations

import errno
import os
from importlib import resources
from pathlib import Path
from typing import Annotated

from vox_cli import flags
from vox_cli.console import Console
from vox_cli.report_text import aligned
from vox_populi.errors import PreflightError
from vox_populi.files.made_folders import made_folder
from vox_populi.operator_messages import plan as say
from vox_tensor.atomic_file import replaced_file

STARTER_FILES = {"config": "run.yaml", "data": "data/train.jsonl", "readme": "README.md"}
"""Files to write, by their names in `--json`."""


def init(
    console: Console,
    folder: Annotated[Path, flags.path_argument("New or empty folder.", "DIR")],
) -> None:
    """Write run.yaml, data/train.jsonl (40 rows) and a README into a new folder."""
    paths = write_starter(folder)
    if console.as_json:
        console.document(
            {"folder": str(folder), "paths": {name: str(path) for name, path in paths.items()}}
        )
        return
    console.result(aligned(paths.items()))
    console.note(f"Next: cd {folder} && vox mens train --config run.yaml --dry-run")


def write_starter(folder: Path) -> dict[str, Path]:
    """Write the files of `vox_cli/starter`; a folder that is not empty is left alone.

    Raises:
        PreflightError: When the folder is not empty.
        OSError: When it cannot be created or written.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder))
    if folder.is_dir() and any(folder.iterdir()):
        raise PreflightError(say.INIT_FOLDER_OCCUPIED.at(str(folder)))
    source = resources.files("vox_cli") / "starter"
    written = {}
    for name, relative in STARTER_FILES.items():
        path = folder / relative
        with made_folder(path.parent), replaced_file(path) as handle:
            handle.write(source.joinpath(*relative.split("/")).read_bytes())
        written[name] = path
    return written
