"""Models of the Hugging Face Hub that are already on this machine. Nothing here opens a connection.

The cache is laid out as `huggingface_hub` and `hf download` write it: `models--ORG--NAME` has the
commit of each branch in `refs`, and in `snapshots/COMMIT` links to the files in `blobs`.
"""

from __future__ import annotations

import os
from pathlib import Path

from vox_populi.errors import ModelError
from vox_populi.files.model_file import read_model_file
from vox_populi.hf.hub_name import CACHED_PREFIX, COMMIT, SNAPSHOTS, HubName, ModelParts
from vox_populi.hf.model_config import CONFIG_NAME
from vox_populi.hf.weight_files import find_listed_weights

_LONGEST_REF = 256


def cache_folder() -> Path:
    """The hub's cache, where the hub's own library looks for it."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return _expanded(named)
    home = os.environ.get("HF_HOME")
    if home:
        return _expanded(home) / "hub"
    shared = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return _expanded(shared) / "huggingface" / "hub"


def repository_folder(name: HubName) -> Path:
    """The folder in which the cache keeps a model; it may not exist."""
    return cache_folder() / (CACHED_PREFIX + name.repository.replace("/", "--"))


def cached_commit(name: HubName) -> str | None:
    """The commit that a revision was when it was last asked for; `None` if it never was."""
    if name.is_commit:
        return name.revision
    ref = repository_folder(name) / "refs" / name.revision
    try:
        commit = read_model_file(ref, _LONGEST_REF).decode("ascii").strip()
    except (ModelError, UnicodeDecodeError):
        return None
    return commit if COMMIT.fullmatch(commit) else None


def cached_folder(name: HubName) -> Path | None:
    """The folder of a model's revision; `None` if nothing of it is there. It may lack files."""
    commit = cached_commit(name)
    if commit is None:
        return None
    folder = repository_folder(name) / SNAPSHOTS / commit
    return folder if folder.is_dir() else None


def lacking_files(folder: Path, parts: ModelParts = ModelParts.ALL) -> tuple[str, ...]:
    """Names of needed files that a folder of the cache lacks, as after an interrupted download.

    Raises:
        ModelError: For an index that cannot be read.
    """
    names = [CONFIG_NAME]
    if parts is ModelParts.ALL and (folder / CONFIG_NAME).exists():
        names += find_listed_weights(folder)
    return tuple(name for name in names if not (folder / name).is_file())


def _expanded(text: str) -> Path:
    return Path(os.path.expandvars(text)).expanduser()
