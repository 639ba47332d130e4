"""The first pass of a mix: every row of every source is checked and counted, and some are picked.

Keeps 8 bytes for each row, 8 for each row to write and at most 22 for each different row; no text.
"""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field

from vox_populi.corpus.key_set import KeySet
from vox_populi.corpus.legacy_rules import LegacyRules, read_legacy_rules
from vox_populi.corpus.mix_config import MixConfig
from vox_populi.corpus.mix_files import LocatedSource
from vox_populi.corpus.mix_report import MixDrop, SkipReason, SourceReport
from vox_populi.corpus.mix_rows import MixRow, mix_row
from vox_populi.corpus.mix_selection import copies_of, picked, quota, random_stream
from vox_populi.data.dataset import OnBadRow
from vox_populi.data.row_files.open_rows import open_rows
from vox_populi.data.row_files.row_file import FileRow, RowFile, is_about_file
from vox_populi.errors import DataError
from vox_populi.operator_messages import corpus as say
from vox_tensor.errors import Problem
from vox_tensor.problem_log import ProblemLog


@dataclass(slots=True)
class ScannedSource:
    """A source after its scan."""

    located: LocatedSource
    rows: int = 0
    kept: int = 0
    duplicates: int = 0
    dropped: Counter[MixDrop] = field(default_factory=Counter)
    digest: str | None = None
    skipped: SkipReason | None = None
    emitted: int = 0
    """Lines to write, copies included."""
    picked: array[int] = field(default_factory=lambda: array("Q"))
    """Indices of these rows in the file."""
    file: RowFile | None = None
    """The open file."""

    def report(self) -> SourceReport:
        """The counts."""
        return SourceReport(
            source=self.located.source,
            input_rows=self.rows,
            kept=self.kept,
            repeats=self.emitted - self.kept,
            dropped={reason: self.dropped[reason] for reason in MixDrop},
            duplicates=self.duplicates,
            sha256=self.digest,
            skipped_reason=self.skipped,
        )


class MixScan:
    """Goes through the sources in the order of the config.

    Args:
        config: Filters and seed.
        on_bad_row: Whether unusable rows are problems or only counted.

    Raises:
        ConfigError: When the config's file of legacy rules cannot be used.
    """

    def __init__(self, config: MixConfig, on_bad_row: OnBadRow) -> None:
        self._config = config
        self._on_bad_row = on_bad_row
        self._taken = KeySet()
        rules = config.legacy_file
        self._legacy = LegacyRules() if rules is None else read_legacy_rules(rules)
        self._unseen_lanes = {*config.include_lanes, *config.exclude_lanes}
        self.problems = ProblemLog(str(config.file))
        """Problems of all sources together."""

    def scan(self, located: LocatedSource) -> ScannedSource:
        """Check a source and pick the rows to write."""
        found = ScannedSource(located, skipped=located.skipped)
        if located.skipped is not None:
            return found
        seen = len(self.problems)
        try:
            found.file = open_rows(located.path)
            found.digest = found.file.digest
            indices, keys = self._candidates(found, found.file)
        except DataError as error:
            # About the file, not a line of it: no policy for rows covers that.
            self.problems.add(error.problems)
            return found
        self._pick(found, indices, keys)
        if not found.emitted:
            reason = SkipReason.NO_LINES_PASSED_FILTERS if found.rows else SkipReason.EMPTY_FILE
            found.skipped = reason
            if not located.source.optional and len(self.problems) == seen:
                self.problems.add([_gives_nothing(found)])
        return found

    def unseen_lanes(self) -> tuple[tuple[str, str], ...]:
        """Lanes of the config without any row, each with its key."""
        keys = {
            "include_lanes": self._config.include_lanes,
            "exclude_lanes": self._config.exclude_lanes,
        }
        return tuple(
            (key, lane)
            for key, lanes in keys.items()
            for lane in lanes
            if lane in self._unseen_lanes
        )

    def _candidates(self, found: ScannedSource, file: RowFile) -> tuple[array[int], array[int]]:
        """Index and key of each row that passes the filters."""
        indices, keys, own = array("Q"), array("Q"), KeySet()
        for item in file.scan():
            if isinstance(item, Problem) and is_about_file(item, file):
                raise DataError(item)
            found.rows += 1
            key = self._key(found, item)
            if key is not None and self._is_wanted(found, key, own):
                assert isinstance(item, FileRow), "a problem has no key"
                indices.append(item.index)
                keys.append(key)
        return indices, keys

    def _key(self, found: ScannedSource, item: FileRow | Problem) -> int | None:
        """The key of a usable row that passes the filters."""
        if isinstance(item, Problem):
            self._reject(found, item)
            return None
        kind = found.located.source.record_format
        try:
            row = mix_row(item.value, kind, item.line, item.where)
        except DataError as error:
            self._reject(found, *error.problems)
            return None
        reason = self._filtered_out(row)
        if reason is None:
            return row.key()
        found.dropped[reason] += 1
        return None

    def _filtered_out(self, row: MixRow) -> MixDrop | None:
        config, lane = self._config, row.lane
        self._unseen_lanes.discard(lane)
        floor, rating = config.min_rating, row.record.rating
        if floor is not None and rating is not None and rating < floor:
            return MixDrop.RATING
        is_out = bool(config.include_lanes) and lane not in config.include_lanes
        if is_out or lane in config.exclude_lanes:
            return MixDrop.LANE
        texts = (message.content for message in row.record.messages)
        return MixDrop.LEGACY if self._legacy.marks(texts) else None

    def _is_wanted(self, found: ScannedSource, key: int, own: KeySet) -> bool:
        """Count a repetition within this or an earlier source; it is dropped only with `dedup`."""
        if own.add(key) and key not in self._taken:
            return True
        found.duplicates += 1
        if self._config.dedup:
            found.dropped[MixDrop.DUPLICATE] += 1
        return not self._config.dedup

    def _pick(self, found: ScannedSource, indices: array[int], keys: array[int]) -> None:
        """Draw the sample and the copies; rows that are not drawn do not count as used."""
        source, seed = found.located.source, self._config.seed
        name = self._config.shown_path(source)
        n_rows = len(indices)
        n_sampled = quota(n_rows, source.sample_rate)
        sample = picked(n_rows, n_sampled, random_stream(seed, "sample", name))
        draw = random_stream(seed, "weight", name)
        n_copies, has_one_more = copies_of(n_sampled, source.weight, draw)
        once = array("Q")
        extra = array("Q")
        for index, key, is_sampled in zip(indices, keys, sample, strict=True):
            if not is_sampled:
                continue
            gets_more = next(has_one_more)
            if gets_more:
                extra.append(index)
            if n_copies or gets_more:
                found.kept += 1
                self._taken.add(key)
            once.append(index)
        once *= n_copies
        once.extend(extra)
        found.picked = once
        found.emitted = len(found.picked)
        found.dropped[MixDrop.SAMPLE] = n_rows - n_sampled
        found.dropped[MixDrop.WEIGHT] = n_sampled - found.kept

    def _reject(self, found: ScannedSource, *problems: Problem) -> None:
        found.dropped[MixDrop.BAD_ROW] += 1
        if self._on_bad_row is OnBadRow.ERROR:
            self.problems.add(problems)


def _gives_nothing(found: ScannedSource) -> Problem:
    located = found.located
    counts = {reason.value: found.dropped[reason] for reason in MixDrop}
    return say.mix_source_gives_nothing(str(located.path), counts).at(located.source.where)
