"""Path of a run's base model relative to the run folder, so that `--run` alone is enough later.

Since the path is relative, run folder and base may move together. It is not in the manifest, which
must not depend on locations, and it is only a hint: the digest decides. A base from the hub is also
known by its name and commit, and is found wherever this machine has its cache.
"""

from __future__ import annotations

import os
from pathlib import Path

from vox_populi.errors import ModelError
from vox_populi.files.json_fields import FieldError, take_present
from vox_populi.files.strict_json import read_json_object
from vox_populi.hf.hub_cache import cached_folder
from vox_populi.hf.hub_name import hub_origin, parse_hub_name
from vox_populi.runs.run_dir import BASE_LOCATION_FILE

_MAX_BYTES = 1 << 16


def base_location(run: Path, model_dir: Path) -> dict[str, object] | None:
    """The place to write into a run folder, or `None` if the two share only the root folder.

    A path via the root would contain the whole path of the base, which may include a user name.
    """
    origin = hub_origin(model_dir)
    path, hub = _relative(run, model_dir), {} if origin is None else {"hub": str(origin)}
    if path is None and not hub:
        return None
    return {"schema_version": 1, **({} if path is None else {"path": path}), **hub}


def _relative(run: Path, model_dir: Path) -> str | None:
    start, end = run.resolve(), model_dir.resolve()
    try:
        shared = Path(os.path.commonpath((start, end)))
    except ValueError:  # Windows: two drives
        return None
    if shared == Path(shared.anchor):
        return None
    return Path(os.path.relpath(end, start)).as_posix()


def find_base(run: Path) -> Path | None:
    """The folder a run's hint points to, or `None`; the caller compares digests.

    A broken hint is ignored; nothing is raised.
    """
    try:
        raw = read_json_object(run / BASE_LOCATION_FILE, _MAX_BYTES)
        text, hub = take_present(raw, "path", str), take_present(raw, "hub", str)
    except (ModelError, FieldError):
        return None
    return _at_path(run, text or "") or _in_cache(hub or "")


def _at_path(run: Path, text: str) -> Path | None:
    if not text or "\0" in text or Path(text).is_absolute():
        return None
    found = run.resolve() / text
    return found if found.is_dir() else None


def _in_cache(text: str) -> Path | None:
    name = parse_hub_name(text)
    return cached_folder(name) if name is not None and name.is_commit else None
