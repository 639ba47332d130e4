"""Removing the path a model or tokenizer was saved from, which transformers records.

Older versions write the path that they were given into `config.json` and `tokenizer_config.json`.
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath, PureWindowsPath

from vox_populi.files.whole_file import pretty_json

_KEYS = ("_name_or_path", "name_or_path")
_FILES = ("config.json", "tokenizer_config.json")


def without_saved_path(name: str, data: bytes) -> bytes:
    """A side file of a model: its bytes, unless it holds such a path, which goes.

    Args:
        name: Of the file.
        data: Its content.
    """
    if name not in _FILES or not any(f'"{key}"'.encode() in data for key in _KEYS):
        return data
    try:
        content = json.loads(data)
    except ValueError:
        return data
    if not isinstance(content, dict):
        return data
    kept = {k: v for k, v in content.items() if not (k in _KEYS and _is_absolute(v))}
    return data if len(kept) == len(content) else pretty_json(kept)


def _is_absolute(value: object) -> bool:
    """Whether it names a place on a machine, whichever system wrote it."""
    if not isinstance(value, str):
        return False
    is_home = value.startswith("~")
    return is_home or PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()
