"""Which files belong to which split, as the README of a data set of the hub says it (`configs:`).

The list is in the YAML at the start of `README.md`. Each configuration has a name and patterns of
files for each of its splits, from the folder of the README; one of them may be the default.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from vox_populi import extras
from vox_populi.data.folder_files import natural_order
from vox_populi.errors import DataError
from vox_populi.operator_messages import row_files as say
from vox_tensor.errors import cause
from vox_tensor.regular_file import open_regular

README = "README.md"
_DEFAULT = "default"
_FENCE = re.compile(rb"---[ \t]*\r?\n(.*?\n)---[ \t]*(\r?\n|$)", re.DOTALL)
_CONFIGS = re.compile(rb"^configs[ \t]*:", re.MULTILINE)
_MOST_BYTES = 2**20
_MOST_FILES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HubConfig:
    """One configuration of a data set."""

    name: str
    is_default: bool
    splits: Mapping[str, tuple[str, ...]]
    """Patterns of files by the name of a split; empty if the files' own names tell their splits."""
    folder: str
    """Folder of these files, relative to that of the README."""


def hub_configs(folder: Path) -> tuple[HubConfig, ...]:
    """The configurations that the README of a folder lists; none without such a list.

    Raises:
        DataError: For a list that cannot be read.
    """
    front = _front_matter(folder / README)
    if front is None:
        return ()
    where = str(folder / README)
    if not extras.is_installed("yaml"):
        raise DataError(say.CONFIGS_NEED_YAML.at(where))
    yaml: Any = extras.load("yaml")
    try:
        found = yaml.safe_load(front)["configs"]
        return tuple(map(_config, found))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = "" if mark is None else f" in line {mark.line + 2}"
        raise DataError(say.configs_unusable(f"it is not YAML{at}").at(where)) from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise DataError(say.configs_unusable("it has not the form of the hub").at(where)) from None


def chosen_config(folder: Path, configs: Sequence[HubConfig], name: str | None) -> HubConfig:
    """The configuration of a name, or without one the default.

    The default is the one that says so, the one that is called `default`, or the only one.

    Raises:
        DataError: With the names, if there is none.
    """
    named = [each for each in configs if each.name == (name or _DEFAULT)]
    if name is None:
        named = [each for each in configs if each.is_default] or named
        named = named or list(configs if len(configs) == 1 else ())
    if not named:
        raise DataError(say.config_unclear([each.name for each in configs], str(folder)))
    return named[0]


def config_files(folder: Path, config: HubConfig) -> dict[str, tuple[Path, ...]]:
    """The files of each split of a configuration.

    Raises:
        DataError: For a pattern that leads out of the folder, or that no file fits.
    """
    found: dict[str, tuple[Path, ...]] = {}
    for split, patterns in config.splits.items():
        files = dict.fromkeys(file for each in patterns for file in _matching(folder, each))
        found[split] = tuple(files)
    return found


def config_folder(folder: Path, config: HubConfig) -> Path:
    """The folder of a configuration.

    Raises:
        DataError: If it is outside of the data set's.
    """
    _require_inside(folder, config.folder)
    return folder / config.folder


def _front_matter(path: Path) -> bytes | None:
    """The YAML of a README with a list of configurations."""
    if not os.path.lexists(path):
        return None
    try:
        with open_regular(path) as file:
            found = _FENCE.match(file.read(_MOST_BYTES).removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise DataError(say.configs_unusable(cause(error)).at(str(path))) from None
    return found[1] if found is not None and _CONFIGS.search(found[1]) else None


def _config(raw: Mapping[str, Any]) -> HubConfig:
    data_files = raw.get("data_files")
    if isinstance(data_files, str | Mapping):
        data_files = [data_files]
    splits: dict[str, tuple[str, ...]] = {}
    for each in data_files or ():
        for split, patterns in _split(each):
            splits[split] = (*splits.get(split, ()), *patterns)
    return HubConfig(
        name=str(raw.get("config_name") or _DEFAULT),
        is_default=raw.get("default") is True,
        splits=splits,
        folder=_text(raw.get("data_dir") or ""),
    )


def _split(raw: str | Mapping[str, Any]) -> list[tuple[str, tuple[str, ...]]]:
    """Patterns by split; those of no split are training rows, as on the hub."""
    if isinstance(raw, str):
        return [("train", (raw,))]
    if "path" in raw:
        return [(str(raw.get("split") or "train"), _texts(raw["path"]))]
    return [(str(split), _texts(patterns)) for split, patterns in raw.items()]


def _texts(value: object) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(map(_text, value))  # type: ignore[call-overload]


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _matching(folder: Path, pattern: str) -> list[Path]:
    """The files that a pattern fits, in the order of their names."""
    _require_inside(folder, pattern)
    try:
        fitting = islice(folder.glob(pattern.removeprefix("./")), _MOST_FILES)
        files = sorted(filter(Path.is_file, fitting), key=_by_name)
    except (ValueError, NotImplementedError, OSError):
        files = []
    shown = [each for each in files if not _is_hidden(each.relative_to(folder))]
    if not shown:
        raise DataError(say.configs_unusable(f"no file fits {pattern}").at(str(folder / README)))
    return shown


def _require_inside(folder: Path, inner: str) -> None:
    path = PurePosixPath(inner)
    if path.is_absolute() or ".." in path.parts or "\\" in inner or ":" in inner:
        reason = "a path leads out of the folder"
        raise DataError(say.configs_unusable(reason).at(str(folder / README)))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _by_name(path: Path) -> tuple[object, ...]:
    """Sort key: the parts of a path, numbers in them counted as numbers."""
    return tuple(map(natural_order, path.parts))
