"""Which files of a data folder hold training rows, which held-out rows, and which are not read.

A file belongs to the split that it or its folder is named after (`train-00000-of-00002.parquet`,
`data/validation.csv`, `test/0.arrow`), as on the hub. `train.jsonl` takes precedence, and over all
names what the README of a data set says (`hub_configs`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vox_populi.data.folder_files import (
    FolderFile,
    files_in,
    folders_in,
    saved_splits,
    text_files_below,
)
from vox_populi.data.hub_configs import (
    HubConfig,
    chosen_config,
    config_files,
    config_folder,
    hub_configs,
)
from vox_populi.errors import DataError
from vox_populi.operator_messages import row_files as say
from vox_tensor.errors import Problem
from vox_tensor.file_form import FileForm

TRAIN_FILE = "train.jsonl"
VALID_FILE = "valid.jsonl"
TRAIN = "train"
VALID_WORDS = ("valid", "validation", "val", "dev", "eval")
"""Names of held-out rows; the first for which there are files is used."""
_WORDS = (TRAIN, *VALID_WORDS, "test")
_SPLIT = re.compile(
    rf"(?:(?P<of>.+)[-_.])?(?P<word>{'|'.join(_WORDS)})(?:[-_.]?\d+(?:[-_.]of[-_.]\d+)?)?"
    r"(?:[-_.][0-9a-f]{8,})?"
)
_DATA_FOLDER = "data"

Splits = dict[str, list[FolderFile]]


@dataclass(frozen=True, slots=True)
class FolderRows:
    """The files of rows of a folder."""

    train: tuple[Path, ...] = ()
    """Training rows, in order."""
    valid: tuple[Path, ...] = ()
    """Held-out rows, in order."""
    test: tuple[Path, ...] = ()
    unread: tuple[str, ...] = ()
    """Names of files of rows that training does not read."""


def asked_place(path: Path) -> tuple[Path, str | None]:
    """The place of a path, and the configuration that `DIR:NAME` names in a folder."""
    folder, _, name = str(path).rpartition(":")
    is_named = bool(folder and name) and not os.path.lexists(path)
    # `Path.is_dir` raises where it may not look.
    return (Path(folder), name) if is_named and os.path.isdir(folder) else (path, None)  # noqa: PTH112


def folder_rows(
    folder: Path, *, by_name_only: bool = True, config: str | None = None
) -> FolderRows:
    """Find the rows of a folder; no training rows if nothing is named after them.

    Args:
        folder: A folder; its own files, those of its `data` and those of folders that are named
            after a split are looked at.
        by_name_only: Whether only files that are named after training are training rows.
            Otherwise, all files are if there are no others.
        config: Name of a configuration of its README; `None` for the default.

    Raises:
        DataError: When it is unclear which files are meant.
    """
    configs = hub_configs(folder)
    if configs or config is not None:
        return _of_config(folder, configs, config)
    return _by_names(folder, by_name_only=by_name_only)


def _of_config(folder: Path, configs: Sequence[HubConfig], name: str | None) -> FolderRows:
    """The files of one configuration; the others are named as not read."""
    chosen = chosen_config(folder, configs, name)
    splits = config_files(folder, chosen)
    if not splits:
        found = _by_names(config_folder(folder, chosen), by_name_only=False)
    elif splits.keys().isdisjoint(_WORDS):
        raise DataError(say.config_without_train(chosen.name, list(splits)).at(str(folder)))
    else:
        found = _of_splits(splits)
    others = tuple(f"configuration {each.name}" for each in configs if each is not chosen)
    return replace(found, unread=(*found.unread, *others))


def _by_names(folder: Path, *, by_name_only: bool) -> FolderRows:
    """The rows of a folder by the names of its files."""
    saved = saved_splits(folder)
    if saved:
        return _of_splits(saved)
    for place in (folder, folder / _DATA_FOLDER):
        splits = _splits_in(place)
        if TRAIN in splits:
            return _of_splits(_of_one_kind(folder, splits))
    inner = [each for each in folders_in(folder) if TRAIN in _splits_in(each)]
    if len(inner) > 1:
        raise DataError(say.folder_ambiguous([each.name for each in inner]).at(str(folder)))
    if inner:
        return folder_rows(inner[0])
    found = _of_splits(_of_one_kind(folder, _splits_in(folder)))
    return found if by_name_only or found.valid or found.test else _unnamed(folder)


def files_of(paths: Sequence[Path]) -> FolderRows:
    """The rows of files and folders in the given order.

    Raises:
        DataError: With every folder that has no rows, or for which it is unclear.
    """
    problems: list[Problem] = []
    found: list[FolderRows] = []
    for path in paths:
        place, config = asked_place(path)
        if not os.path.isdir(place):  # noqa: PTH112 - `Path.is_dir` raises where it may not look
            found.append(FolderRows(train=(path,)))
            continue
        try:
            rows = folder_rows(place, by_name_only=False, config=config)
        except DataError as error:
            problems += error.problems
            continue
        if not rows.train:
            problems.append(say.FOLDER_WITHOUT_ROWS.at(str(path)))
        found.append(rows)
    if problems:
        raise DataError(*problems)
    return FolderRows(
        train=tuple(file for rows in found for file in rows.train),
        valid=tuple(file for rows in found for file in rows.valid),
        test=tuple(file for rows in found for file in rows.test),
        unread=tuple(name for rows in found for name in rows.unread),
    )


def other_rows(folder: Path) -> FolderFile | None:
    """The most likely rows of a folder without any that are named after training."""
    places = (folder, *folders_in(folder))
    found = [each for place in places for each in files_in(place) if _word_of(each) is None]
    return min(found, key=lambda each: _rank(folder, each), default=None)


def shown_names(paths: Sequence[Path]) -> str:
    """The name of a file, or of the first of several."""
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0].name}{more}"


def _splits_in(place: Path) -> Splits:
    """Files by the word of their split, and those of folders that are named after one."""
    found: Splits = {}
    named = [(each, _word_of(each)) for each in files_in(place)]
    of_train = {_base_of(each) for each, word in named if word == TRAIN}
    for each, word in named:
        # `results-eval.json` next to `train.json` is something else than held-out rows.
        if word is not None and (word == TRAIN or _base_of(each) in {*of_train, ""}):
            found.setdefault(word, []).append(each)
    if os.path.lexists(place / TRAIN_FILE):
        # Whatever it is: opening it says what is wrong with it.
        found[TRAIN] = [FolderFile(place / TRAIN_FILE, FileForm.JSON_LINES)]
    for folder in folders_in(place):
        if folder.name in _WORDS and folder.name not in found:
            files = saved_splits(folder).get(TRAIN, ())
            inside = [FolderFile(path, FileForm.ARROW) for path in files] or files_in(folder)
            if inside:
                found[folder.name] = inside
    return found


def _of_one_kind(folder: Path, splits: Splits) -> dict[str, tuple[Path, ...]]:
    """The files of each split, all of one kind; of `train.jsonl` and others, that one alone."""
    found: dict[str, tuple[Path, ...]] = {}
    for word, files in splits.items():
        alone = [each for each in files if each.path.name == f"{word}.jsonl"]
        kinds = {(_base_of(each), each.kind) for each in files}
        if alone:
            found[word] = (alone[0].path,)
        elif len(kinds) == 1:
            found[word] = tuple(each.path for each in files)
        elif word == TRAIN:
            raise DataError(
                say.folder_ambiguous([each.path.name for each in files]).at(str(folder))
            )
        else:
            first = next(iter(files))
            found[word] = tuple(
                each.path
                for each in files
                if (_base_of(each), each.kind) == (_base_of(first), first.kind)
            )
    return found


def _of_splits(splits: Mapping[str, tuple[Path, ...]]) -> FolderRows:
    valid = next((word for word in VALID_WORDS if word in splits), None)
    used = {TRAIN, valid}
    others = (word for word in ("test", *VALID_WORDS) if word not in used)
    unread = [splits[word] for word in others if word in splits]
    return FolderRows(
        train=splits.get(TRAIN, ()),
        valid=() if valid is None else splits[valid],
        test=splits.get("test", ()),
        unread=tuple(shown_names(files) for files in unread),
    )


def _unnamed(folder: Path) -> FolderRows:
    """All files of a folder in which none is named after a split."""
    files = files_in(folder)
    rows = [each for each in files if each.form is not FileForm.TEXT]
    if not rows:
        return FolderRows(train=tuple(text_files_below(folder)))
    if len({each.kind for each in rows}) > 1:
        raise DataError(say.folder_ambiguous([each.path.name for each in rows]).at(str(folder)))
    return FolderRows(train=tuple(each.path for each in rows))


def _word_of(file: FolderFile) -> str | None:
    found = _SPLIT.fullmatch(_stem(file))
    return None if found is None else found["word"]


def _base_of(file: FolderFile) -> str:
    """The name in front of the word of a split: `dolly` in `dolly-train.jsonl`."""
    found = _SPLIT.fullmatch(_stem(file))
    return "" if found is None else found["of"] or ""


def _stem(file: FolderFile) -> str:
    return file.path.name.lower().split(f".{file.kind}")[0]


def _rank(folder: Path, file: FolderFile) -> tuple[bool, bool, bool, bool, str]:
    """Sort key: names that suggest training, files in the folder itself, then JSON Lines."""
    return (
        not file.path.name.lower().startswith(TRAIN),
        file.form is FileForm.TEXT,
        file.path.parent != folder,
        file.form is not FileForm.JSON_LINES,
        str(file.path),
    )
