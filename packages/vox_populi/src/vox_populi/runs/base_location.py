"""Path of a run's base model relative to the run folder, so that `--run` alone is enough later.

Since the path is relative, run folder and base may move together. It is not in the manifest, which
must not depend on locations, and it is only a hint: the digest decides.
"""

from __future__ import annotations

import os
from pathlib import Path

from vox_populi.errors import ModelError
from vox_populi.files.json_fields import FieldError, take
from vox_populi.files.strict_json import read_json_object
from vox_populi.runs.run_dir import BASE_LOCATION_FILE

_MAX_BYTES = 1 << 16


def base_location(run: Path, model_dir: Path) -> dict[str, object] | None:
    """The path to write into a run folder, or `None` if the two share only the root folder.

    A path via the root would contain the whole path of the base, which may include a user name.
    """
    start, end = run.resolve(), model_dir.resolve()
    try:
        shared = Path(os.path.commonpath((start, end)))
    except ValueError:  # Windows: two drives
        return None
    if shared == Path(shared.anchor):
        return None
    return {"schema_version": 1, "path": Path(os.path.relpath(end, start)).as_posix()}


def find_base(run: Path) -> Path | None:
    """The folder a run's hint points to, or `None`; the caller compares digests.

    A broken hint is ignored; nothing is raised.
    """
    try:
        text = take(read_json_object(run / BASE_LOCATION_FILE, _MAX_BYTES), "path", str)
    except (ModelError, FieldError):
        return None
    if "\0" in text or Path(text).is_absolute():
        return None
    found = run.resolve() / text
    return found if found.is_dir() else None
