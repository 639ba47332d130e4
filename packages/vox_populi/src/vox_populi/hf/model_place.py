"""Recognising what was passed instead of a model folder: an adapter, a run, a GGUF file, a hub id.

Only names and four bytes are examined, no config or weights.
"""

from __future__ import annotations

import os
from pathlib import Path

from vox_populi.errors import ModelError
from vox_populi.files.known_names import MANIFEST_FILE, PEFT_CONFIG_FILE, REQUEST_FILE
from vox_populi.hf.hub_name import DEFAULT_REVISION, HubName, hub_name_of
from vox_populi.operator_messages import hub as say_hub
from vox_populi.operator_messages import model_folder as say
from vox_tensor.errors import Problem
from vox_tensor.regular_file import open_regular

_CONFIG_NAME = "config.json"
_GGUF_MAGIC = b"GGUF"


def model_place_problem(path: Path) -> Problem | None:
    """Why a path is not a model folder, and what to do with it; `None` if it may be one."""
    # `Path.is_dir` raises where this user may not look.
    if os.path.isdir(path):  # noqa: PTH112 - see above
        return _folder_problem(path)
    is_there = os.path.lexists(path)
    return foreign_place_problem(path) or say.model_dir_missing(is_there).at(str(path))


def foreign_place_problem(path: Path) -> Problem | None:
    """What a path means to other programs alone: a name on the hub, a GGUF file or its folder.

    For commands that take adapters too, whose own refusals would mislead there.
    """
    where = str(path)
    if os.path.isdir(path):  # noqa: PTH112 - see above
        try:
            ggufs = sorted(path.glob("*.gguf"))
        except OSError:
            return None
        return say.model_is_gguf(str(ggufs[0])) if ggufs else None
    if os.path.lexists(path):
        return say.model_is_gguf(where) if is_gguf(path) else None
    name = hub_name_of(path)
    return None if name is None else not_downloaded(name)


def not_downloaded(name: HubName) -> Problem:
    """The problem that a model of the hub is not on this machine, with both ways to get it."""
    revision = None if name.revision == DEFAULT_REVISION else name.revision
    return say_hub.model_is_hub_id(str(name), name.repository, revision)


def refuse_other_place(path: Path) -> None:
    """Refuse a path that is not a model folder.

    Raises:
        ModelError: With what it is.
    """
    problem = model_place_problem(path)
    if problem is not None:
        raise ModelError(problem)


def is_gguf(path: Path) -> bool:
    """Whether a file has llama.cpp's format, by its first bytes, or by name if unreadable."""
    if not path.is_file():
        return False
    try:
        with open_regular(path) as file:
            return file.read(len(_GGUF_MAGIC)) == _GGUF_MAGIC
    except OSError:
        return path.suffix.lower() == ".gguf"


def _folder_problem(path: Path) -> Problem | None:
    where = str(path)
    if os.path.lexists(path / _CONFIG_NAME):
        return None
    if os.path.lexists(path / PEFT_CONFIG_FILE):
        return say.MODEL_IS_ADAPTER.at(where)
    if any(os.path.lexists(path / name) for name in (REQUEST_FILE, MANIFEST_FILE)):
        return say.MODEL_IS_RUN.at(where)
    return foreign_place_problem(path)
