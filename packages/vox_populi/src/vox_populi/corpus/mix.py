"""Mixing several files of rows into one, by weight; the same files and seed give the same bytes.

Two passes: the first checks and counts everything and picks rows (`mix_scan`), the second reads
the picked lines again and writes them. Nothing is written before the first is complete, inputs are
never modified, and the output is written atomically.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vox_populi.corpus.mix_config import MixConfig
from vox_populi.corpus.mix_files import check_output, locate_sources
from vox_populi.corpus.mix_report import MixDrop, MixReport, report_path
from vox_populi.corpus.mix_rows import written_row
from vox_populi.corpus.mix_scan import MixScan, ScannedSource
from vox_populi.corpus.mix_selection import random_stream, shuffle
from vox_populi.data.dataset import OnBadRow
from vox_populi.data.row_files.file_content import file_digest
from vox_populi.errors import ConfigError, DataError
from vox_populi.files.made_folders import made_folder
from vox_populi.operator_messages import corpus as say_corpus
from vox_populi.operator_messages import data as say_data
from vox_tensor.atomic_file import remove_leftovers, replaced_file
from vox_tensor.jsonl import jsonl_line

OTHER_LANES = "(others)"
_MAX_LANES = 100
_INDEX_BITS = 48
"""Bits for the index: an entry of the order packs a source and a row of it in 64 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixOptions:
    """Options for running a config."""

    output: Path | None = None
    """Overrides the config's output."""
    allow_missing_sources: bool = False
    on_bad_row: OnBadRow = OnBadRow.ERROR
    force: bool = False
    """Replace an existing output with different content."""


@dataclass(frozen=True, slots=True)
class MixResult:
    """A mix that was written."""

    report: MixReport
    output: Path
    report_file: Path
    notes: tuple[str, ...]
    """Notes for the operator; nothing is wrong."""


def mix_corpus(config: MixConfig, options: MixOptions | None = None) -> MixResult:
    """Mix the sources of a config and write the rows, with a report next to them.

    Raises:
        ConfigError: When there is no output, or two sources are one file.
        DataError: With every problem of the sources or the output; nothing is written then.
        OSError: When the output cannot be written; the old content stays.
    """
    options = options or MixOptions()
    output = options.output or config.output
    if output is None:
        raise ConfigError(say_corpus.MIX_OUTPUT_MISSING.at(str(config.file)))
    located = locate_sources(config, allow_missing=options.allow_missing_sources)
    check_output(config, located, output)
    scan = MixScan(config, options.on_bad_row)
    sources = [scan.scan(each) for each in located]
    if scan.problems:
        raise DataError(*scan.problems.shown())
    writer = _Writer(config, sources)
    if not writer.n_rows:
        raise DataError(say_corpus.MIX_EMPTY.at(str(config.file)))
    report_file = report_path(output)
    if not options.force and _is_there(output):
        writer.pass_over_rows()
        if not _holds(output, writer.digest):
            raise DataError(say_corpus.MIX_OUTPUT_OCCUPIED.at(str(output)))
        remove_leftovers(output)
        with replaced_file(report_file) as handle:
            handle.write(_report_bytes(writer.report(options, output)))
    else:
        with made_folder(output.parent):
            _write(writer, options, output)
    notes = tuple(_notes(sources, scan.unseen_lanes()))
    return MixResult(writer.report(options, output), output, report_file, notes)


def _write(writer: _Writer, options: MixOptions, output: Path) -> None:
    """Write report and output, the output last, so that a new output always has its report."""
    with replaced_file(output) as rows:
        for line in writer.lines():
            rows.write(line)
        # Before the report's rename: a full disk must show while both files are still old.
        rows.flush()
        os.fsync(rows.fileno())
        with replaced_file(report_path(output)) as report:
            report.write(_report_bytes(writer.report(options, output)))


class _Writer:
    """The second pass: reads the picked lines in their order."""

    def __init__(self, config: MixConfig, sources: Sequence[ScannedSource]) -> None:
        self._config = config
        self._sources = sources
        self._order = _order(config, sources)
        self.n_rows = len(self._order)
        self.digest = ""
        """`sha256:` and the hash of all lines, once they have been read."""
        self._lanes: Counter[str] = Counter()

    def pass_over_rows(self) -> None:
        """Find digest and lanes without writing."""
        for _ in self.lines():
            pass

    def lines(self) -> Iterator[bytes]:
        """The lines of the output.

        Raises:
            DataError: When an input changed since it was checked.
        """
        digest = hashlib.sha256()
        for entry in self._order:
            source = self._sources[entry >> _INDEX_BITS]
            row = _row_at(source, entry & ((1 << _INDEX_BITS) - 1))
            self._count_lane(str(row["lane"]))
            line = jsonl_line(row)
            digest.update(line)
            yield line
        self.digest = "sha256:" + digest.hexdigest()
        changed = [
            source.located.path
            for source in self._sources
            if source.digest is not None and file_digest(source.located.path) != source.digest
        ]
        if changed:
            raise DataError(*(say_data.DATA_FILE_CHANGED.at(str(path)) for path in changed))

    def report(self, options: MixOptions, output: Path) -> MixReport:
        """Counts and digest, once the rows have been read."""
        return MixReport(
            config=self._config,
            strict=not options.allow_missing_sources,
            on_bad_row=options.on_bad_row.value,
            sources=tuple(source.report() for source in self._sources),
            lanes=dict(self._lanes),
            output=output,
            output_sha256=self.digest,
        )

    def _count_lane(self, lane: str) -> None:
        has_room = lane in self._lanes or len(self._lanes) < _MAX_LANES
        self._lanes[lane if has_room else OTHER_LANES] += 1


def _row_at(source: ScannedSource, index: int) -> dict[str, object]:
    """The output for a row of a source."""
    assert source.file is not None, "rows were picked from it"
    row = source.file.read(index)
    try:
        return written_row(row.value, source.located.source.record_format, row.place)
    except DataError:
        raise DataError(say_data.DATA_FILE_CHANGED.at(str(source.located.path))) from None


def _order(config: MixConfig, sources: Sequence[ScannedSource]) -> array[int]:
    """Every row to write, in the order of the output."""
    order = array("Q")
    for number, source in enumerate(sources):
        order.extend(number << _INDEX_BITS | index for index in source.picked)
        source.picked = array("Q")  # the order has them now
    if config.shuffle:
        shuffle(order, random_stream(config.seed, "order"))
    return order


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _holds(path: Path, digest: str) -> bool:
    """Whether a file has this content; a dangling link has none."""
    return path.exists() and file_digest(path) == digest


def _report_bytes(report: MixReport) -> bytes:
    text = json.dumps(report.as_json(), indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def _notes(
    sources: Sequence[ScannedSource], unseen_lanes: Sequence[tuple[str, str]]
) -> Iterator[str]:
    for source in sources:
        path = str(source.located.path)
        if source.skipped is not None:
            yield say_corpus.note_mix_source_skipped(path, source.skipped.value)
        n_bad = source.dropped[MixDrop.BAD_ROW]
        if n_bad:
            yield say_corpus.note_mix_rows_skipped(path, n_bad)
    for key, lane in unseen_lanes:
        yield say_corpus.note_mix_lane_unseen(key, lane)
