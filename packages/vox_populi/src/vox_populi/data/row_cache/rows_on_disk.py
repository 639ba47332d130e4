"""The rows of a large file, encoded once by all cores and kept on disk (decision 0029)."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from vox_populi.data.data_report import DataReport, DataTally
from vox_populi.data.row_cache.cache_place import tidy
from vox_populi.data.row_cache.columns import id_type
from vox_populi.data.row_cache.crew import Crew
from vox_populi.data.row_cache.entry import DamagedEntryError, Entry, EntryWriter
from vox_populi.data.row_cache.entry_name import entry_key, entry_name
from vox_populi.data.row_cache.part_files import PartEncoder, take_part
from vox_populi.data.row_files.row_file import RowFile
from vox_populi.data.row_reader import RowEncoder
from vox_populi.data.row_scan import DatasetOptions, ScanResult
from vox_populi.errors import DataError, EnvironmentFailure
from vox_populi.files.plain_values import as_plain, of_plain
from vox_populi.files.removal import remove_entry
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.operator_messages import environment as say_environment
from vox_populi.operator_messages import row_cache as say
from vox_tensor.errors import Problem, cause
from vox_tensor.problem_log import FoldedProblem
from vox_tensor.tokenizer import VoxTokenizer

LEAST_BYTES = 4 * 2**20
"""Size of the smallest file that is kept: a smaller one is encoded while processes would start."""
_PART_BYTES = 4 * 2**20
_MOST_PARTS = 4096
_PRIVATE = 0o700
_WAIT_SECONDS = 0.1
_WORK = "work"
_LOCKED = say_environment.folder_locked("").code


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCache:
    """The folder of encoded rows, and how they are encoded."""

    folder: Path
    workers: int
    module: str
    """Module that a process runs; see `Crew`."""
    least_bytes: int = LEAST_BYTES

    def is_for(self, rows: RowFile) -> bool:
        """Whether a file is large enough."""
        return _size(rows) >= self.least_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedRows:
    """An entry with what its scan found."""

    entry: Entry
    report: DataReport
    notes: tuple[str, ...] = ()


@runtime_checkable
class PortableTokenizer(Protocol):
    """A tokenizer that another process can build."""

    def portable(self) -> Mapping[str, object]:
        """What it is built from, as JSON values: `kind`, `definition` and settings."""


def cached_rows(
    rows: RowFile, encoder: RowEncoder, options: DatasetOptions, cache: RowCache
) -> CachedRows | tuple[str, ...]:
    """The entry of a file, built if there is none; notes on why there can be none.

    Raises:
        DataError: For rows that cannot be used, as a scan raises it.
        VoxError: When the tokenizer fails, or a process ends early.
    """
    tokenizer = _portable(encoder)
    if tokenizer is None:
        return ()
    settings = {name: each for name, each in tokenizer.items() if name not in _NO_SETTINGS}
    key = entry_key(rows, encoder, options, settings)
    target = cache.folder / entry_name(key)
    build = _Build(rows, encoder, options, cache, tokenizer, key, target)
    try:
        return build.found_or_made()
    except OSError as error:
        return (say.note_rows_not_kept(str(cache.folder), cause(error)),)


_NO_SETTINGS = ("definition", "where")
"""What its digest says already, and what decides nothing."""


def _portable(encoder: RowEncoder) -> Mapping[str, object] | None:
    tokenizer = encoder.tokenizer
    if isinstance(tokenizer, VoxTokenizer):
        return {"kind": "vox", "definition": tokenizer.to_json()}
    return tokenizer.portable() if isinstance(tokenizer, PortableTokenizer) else None


def _size(rows: RowFile) -> int:
    """Bytes of the files of rows; 0 where one cannot be examined."""
    try:
        return sum(path.stat().st_size for path in rows.files)
    except OSError:
        return 0


@dataclass(frozen=True, slots=True)
class _Build:
    """One file with everything its entry depends on."""

    rows: RowFile
    encoder: RowEncoder
    options: DatasetOptions
    cache: RowCache
    tokenizer: Mapping[str, object]
    key: dict[str, object]
    target: Path

    def found_or_made(self) -> CachedRows:
        """The entry, or a new one; waits for another process that writes it.

        Raises:
            OSError: When the folder or an entry cannot be written.
        """
        while True:
            found, is_damaged = self._found(), self.target.exists()
            if found is not None:
                return found
            self.cache.folder.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            try:
                staged = StagedFolder.create(self.target, force=True)
            except EnvironmentFailure as error:
                if all(problem.code == _LOCKED for problem in error.problems):
                    time.sleep(_WAIT_SECONDS)
                    continue
                raise _as_os_error(error) from error
            with staged:
                # Whoever held the lock before us may have finished it.
                return self._found() or self._made(staged, is_damaged=is_damaged)

    def _found(self) -> CachedRows | None:
        try:
            entry = Entry(self.target, self.key)
            report = _report_of(entry.record, self._names)
        except (DamagedEntryError, OSError, ValueError):
            return None
        with suppress(OSError):
            os.utime(self.target)  # When it was last used.
        return CachedRows(entry=entry, report=report)

    @property
    def _names(self) -> list[str]:
        return [str(path) for path in self.rows.files]

    def _made(self, staged: StagedFolder, *, is_damaged: bool) -> CachedRows:
        staged.path.chmod(_PRIVATE)
        result = ScanResult.empty(self.rows, self.options)
        with EntryWriter(staged.path) as writer:
            for tally in self._encoded(staged.path / _WORK, writer, result):
                result.tally.add(tally)
            report = result.report_or_raise(self.rows)
            writer.finish(
                {
                    "key": self.key,
                    "id_code": self.key["id_code"],
                    "rows": report.kept,
                    "names": self._names,
                    "tally": as_plain(result.tally),
                    "skipped": _skipped_as_json(result),
                }
            )
        remove_entry(staged.path / _WORK)
        size = sum(path.stat().st_size for path in staged.path.iterdir())
        try:
            old = staged.publish()
        except EnvironmentFailure as error:
            raise _as_os_error(error) from error
        if old is not None:
            with suppress(OSError):
                remove_entry(old)
        tidy(self.cache.folder)
        notes = [say.note_rows_kept(str(self.cache.folder), size)]
        if is_damaged:
            notes.insert(0, say.note_entry_damaged(str(self.cache.folder)))
        made = self._found()
        if made is None:
            raise OSError(0, "what was written cannot be read back")
        return replace(made, notes=tuple(notes))

    def _encoded(self, work: Path, writer: EntryWriter, result: ScanResult) -> Iterator[DataTally]:
        """Encode all parts in order, by this process alone or by a crew."""
        work.mkdir()
        size = _size(self.rows)
        n_parts = max(self.cache.workers, min(size // _PART_BYTES, _MOST_PARTS))
        try:
            parts = self.rows.parts(n_parts)
        except DataError as error:
            result.fatal.add(error.problems)
            return
        targets = [work / str(number) for number in range(len(parts))]
        n_workers = min(self.cache.workers, len(parts))
        if n_workers > 1:
            job = work / "job.json"
            job.write_text(json.dumps(self._job()), encoding="utf-8")
            tallies = Crew(self.cache.module, job, n_workers).results(parts, targets)
        else:
            here = self._part_encoder()
            tallies = (here.encode(*each) for each in zip(parts, targets, strict=True))
        for target, tally in zip(targets, tallies, strict=True):
            take_part(target, writer, result)
            yield tally

    def _part_encoder(self) -> PartEncoder:
        return PartEncoder(
            encoder=self.encoder,
            options=self.options,
            files=tuple(self._names),
            id_code=id_type(self.encoder.tokenizer.vocab_size),
        )

    def _job(self) -> dict[str, object]:
        return {
            "tokenizer": dict(self.tokenizer),
            "policy": as_plain(self.encoder.policy),
            "options": as_plain(self.options),
            "files": self._names,
        }


def _as_os_error(error: EnvironmentFailure) -> OSError:
    """A failure to write a folder, as what the system said."""
    origin = error.__cause__
    if isinstance(origin, OSError):
        return origin
    return OSError(0, error.problems[0].what.rstrip("."))


def _skipped_as_json(result: ScanResult) -> list[dict[str, object]]:
    return [problem.as_json() for problem in result.skipped.shown()]


def _report_of(record: Mapping[str, Any], names: list[str]) -> DataReport:
    """The counts of an entry, with places in the files as they are called now."""
    renamed = dict(zip(record["names"], names, strict=True))
    skipped = tuple(_problem_of(raw, renamed) for raw in record["skipped"])
    return of_plain(DataTally, record["tally"]).report(skipped)


def _problem_of(raw: Mapping[str, Any], renamed: Mapping[str, str]) -> Problem:
    where = raw["where"]
    for old, new in renamed.items():
        if where is not None and where.startswith(old):
            where = new + where.removeprefix(old)
            break
    texts = {"code": raw["code"], "what": raw["what"], "fix": raw["fix"], "where": where}
    if "count" not in raw:
        return Problem(**texts)
    lines = tuple((first, last) for first, last in raw["lines"])
    return FoldedProblem(**texts, count=raw["count"], lines=lines)
