"""Locating the files of a mix before any of them is read. Writes nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vox_populi.corpus.mix_config import MixConfig, MixSource
from vox_populi.corpus.mix_report import SkipReason, report_path
from vox_populi.errors import ConfigError, DataError
from vox_populi.operator_messages import corpus as say
from vox_populi.operator_messages.wording import capped
from vox_tensor import data_messages
from vox_tensor.errors import Problem


@dataclass(frozen=True, slots=True)
class LocatedSource:
    """A source and its file."""

    source: MixSource
    path: Path
    skipped: SkipReason | None = None
    """Why it is not read."""


def locate_sources(config: MixConfig, *, allow_missing: bool) -> tuple[LocatedSource, ...]:
    """Find the file of every source.

    Raises:
        ConfigError: When two sources are one file.
        DataError: With every required source that is missing.
    """
    found = tuple(_located(config, source) for source in config.sources)
    repeated = tuple(_repeated(found))
    if repeated:
        raise ConfigError(*repeated)
    missing = [
        say.mix_source_missing(str(each.path)).at(each.source.where)
        for each in found
        if each.skipped is SkipReason.MISSING_FILE
    ]
    if missing and not allow_missing:
        raise DataError(*capped(missing))
    return found


def check_output(config: MixConfig, sources: tuple[LocatedSource, ...], output: Path) -> None:
    """Make sure that neither the output nor its report would replace an input.

    Raises:
        DataError: When one would, through any link or spelling, or is not a regular file.
    """
    inputs = {name: each.path for each in sources for name in _names(each.path)}
    inputs |= dict.fromkeys(_names(config.file), config.file)
    if config.legacy_file is not None:
        inputs |= dict.fromkeys(_names(config.legacy_file), config.legacy_file)
    problems = [
        problem
        for target in (output, report_path(output))
        for problem in _target_problems(target, inputs)
    ]
    if problems:
        raise DataError(*problems)


def _target_problems(target: Path, inputs: Mapping[object, Path]) -> Iterator[Problem]:
    hit = next((inputs[name] for name in _names(target) if name in inputs), None)
    if hit is not None:
        yield say.mix_output_is_source(str(hit)).at(str(target))
    elif target.exists() and not target.is_file():
        yield data_messages.NOT_A_REGULAR_FILE.at(str(target))


def _located(config: MixConfig, source: MixSource) -> LocatedSource:
    path = config.path_of(source)
    if source.weight == 0:
        return LocatedSource(source, path, SkipReason.WEIGHT_ZERO)
    if not _is_missing(path):
        return LocatedSource(source, path)
    optional = SkipReason.MISSING_FILE_OPTIONAL
    return LocatedSource(source, path, optional if source.optional else SkipReason.MISSING_FILE)


def _is_missing(path: Path) -> bool:
    """Whether a file does not exist; a file that cannot be examined is not missing."""
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _repeated(found: tuple[LocatedSource, ...]) -> Iterator[Problem]:
    first: dict[object, MixSource] = {}
    for each in found:
        names = _names(each.path)
        earlier = next((first[name] for name in names if name in first), None)
        if earlier is not None:
            yield say.mix_source_repeated(each.source.path, earlier.where).at(each.source.where)
        first |= dict.fromkeys(names, each.source)


def _names(path: Path) -> list[object]:
    """Identities of a file, the same for links and other spellings."""
    names: list[object] = [os.path.realpath(path)]
    try:
        status = path.stat()
    except OSError:
        return names
    if stat.S_ISREG(status.st_mode):
        names.append((status.st_dev, status.st_ino))
    return names
