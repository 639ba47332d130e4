"""Dividing a file of rows into training, validation and test files without leakage.

Rows with the same value of the grouping key, or with the same prompt, are always on one side. A
group's side depends on its name and the seed alone: neither on the order of the rows nor, without
stratification, on the other rows. Two passes: the first finds the groups, the second writes.
"""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

from vox_populi.corpus.row_groups import RowGroups, label_key, prompt_key
from vox_populi.corpus.row_outputs import RowFileWriter, check_row_outputs, row_outputs
from vox_populi.corpus.row_scan import RowScan, ScannedRow
from vox_populi.data.dataset import OnBadRow
from vox_populi.errors import ConfigError, DataError
from vox_populi.number_ranges import SEED, require_ranges
from vox_populi.operator_messages import corpus_files as say
from vox_populi.operator_messages import data as say_data

DEFAULT_SEED = 42
_DEFAULT_SHARES = {2: (9.0, 1.0), 3: (8.0, 1.0, 1.0)}
_SPREAD = 1 << 64


@dataclass(frozen=True, slots=True)
class SplitRatio:
    """Shares of the sides of a split, in any unit."""

    parts: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRequest:
    """A request to divide a file."""

    file: Path
    train: Path
    valid: Path
    test: Path | None = None
    ratio: SplitRatio | None = None
    """Shares of the sides; `None` for 9:1, or 8:1:1 with a test file."""
    group_by: str | None = None
    """Key whose value keeps rows together."""
    stratify_by: str | None = None
    """Key for each value of which the shares are met separately."""
    seed: int = DEFAULT_SEED
    on_bad_row: OnBadRow = OnBadRow.ERROR
    force: bool = False
    """Replace existing files with different content."""

    def __post_init__(self) -> None:
        require_ranges(("--seed", self.seed, SEED))
        parts = len(self._parts)
        if parts != len(self.outputs):
            raise ConfigError(say.split_parts_differ(parts, tuple(self.outputs)))

    @property
    def outputs(self) -> dict[str, Path]:
        """Path of each side, by name."""
        paths = {"train": self.train, "valid": self.valid, "test": self.test}
        return {side: path for side, path in paths.items() if path is not None}

    @property
    def shares(self) -> tuple[Fraction, ...]:
        """Exact shares of the sides, as written; their sum is 1."""
        parts = [Fraction(repr(part)) for part in self._parts]
        return tuple(part / sum(parts) for part in parts)

    @property
    def _parts(self) -> tuple[float, ...]:
        given = self.ratio
        return _DEFAULT_SHARES[len(self.outputs)] if given is None else given.parts


@dataclass(frozen=True, slots=True)
class SideReport:
    """One side of a split."""

    path: Path
    rows: int
    groups: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitReport:
    """Counts of a split."""

    file: Path
    rows: int
    seed: int
    ratio: tuple[float, ...]
    """Shares of the sides; their sum is 1."""
    group_by: str | None
    stratify_by: str | None
    skipped: int
    """Bad rows that were left out."""
    ungrouped: int
    """Rows without a value of the grouping key."""
    sides: Mapping[str, SideReport]
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """The fields that `--json` prints."""
        return {
            "path": str(self.file),
            "rows": self.rows,
            "skipped": self.skipped,
            "ungrouped": self.ungrouped,
            "groups": sum(side.groups for side in self.sides.values()),
            "seed": self.seed,
            "ratio": list(self.ratio),
            "group_by": self.group_by,
            "stratify_by": self.stratify_by,
            "sides": {
                name: {"path": str(side.path), "rows": side.rows, "groups": side.groups}
                for name, side in self.sides.items()
            },
            "notes": list(self.notes),
        }


def split_corpus(request: SplitRequest) -> SplitReport:
    """Divide a file of rows; the input is never modified.

    Raises:
        DataError: With every bad row, or when a side would be empty; nothing is written then.
        PreflightError: When an output overlaps the input.
        OSError: When an output cannot be written; nothing is left behind.
    """
    outputs = request.outputs
    check_row_outputs({f"--{side}": path for side, path in outputs.items()}, [request.file])
    scan, grouping = RowScan(request.file), _Grouping(request)
    for row in scan.rows():
        grouping.add(row)
    if len(scan.log) and request.on_bad_row is OnBadRow.ERROR:
        raise DataError(*scan.log.shown())
    if not grouping.n_rows:
        raise DataError(say_data.DATA_FILE_EMPTY.at(str(request.file)))
    sides = grouping.sides()
    groups = grouping.groups_by_side()
    empty = [side for number, side in enumerate(outputs) if not groups[number]]
    if empty:
        n_groups = sum(groups.values())
        raise DataError(say.split_side_empty(empty, n_groups).at(str(request.file)))
    with row_outputs(tuple(outputs.values()), force=request.force) as writers:
        for number, row in enumerate(scan.rows()):
            _writer_of(writers, sides, number, request.file).write(row.value)
        scan.check_unchanged()
    return SplitReport(
        file=request.file,
        rows=grouping.n_rows,
        seed=request.seed,
        ratio=tuple(map(float, request.shares)),
        group_by=request.group_by,
        stratify_by=request.stratify_by,
        skipped=scan.n_bad,
        ungrouped=grouping.ungrouped,
        sides={
            side: SideReport(writer.path, writer.n_rows, groups[number])
            for number, (side, writer) in enumerate(zip(outputs, writers, strict=True))
        },
        notes=tuple(_notes(request, scan.n_bad, grouping.ungrouped)),
    )


def _writer_of(
    writers: Sequence[RowFileWriter], sides: Sequence[int], number: int, file: Path
) -> RowFileWriter:
    """The file for a row; more rows than in the first pass mean that the input has changed."""
    if number >= len(sides):
        raise DataError(say_data.DATA_FILE_CHANGED.at(str(file)))
    return writers[sides[number]]


class _Grouping:
    """The first pass: the group and the stratum of every row, in about 30 bytes a row."""

    def __init__(self, request: SplitRequest) -> None:
        self._request = request
        self._cuts = tuple(accumulate(request.shares[:-1]))
        self._groups = RowGroups()
        self._nodes = array("Q")
        self._strata = array("Q")
        self._sides_of_groups = array("B")
        self.ungrouped = 0

    @property
    def n_rows(self) -> int:
        """Number of rows so far."""
        return len(self._nodes)

    def add(self, row: ScannedRow) -> None:
        """Put a row into its group."""
        keys = [prompt_key(row.record)]
        by = self._request.group_by
        if by is not None:
            value = row.value.get(by)
            if value is None or value == "":
                self.ungrouped += 1
            else:
                keys.append(label_key(value))
        self._nodes.append(self._groups.join(keys))
        if self._request.stratify_by is not None:
            self._strata.append(label_key(row.value.get(self._request.stratify_by)))

    def sides(self) -> array[int]:
        """The number of each row's side."""
        groups = array("Q", (self._groups.group_of(node) for node in self._nodes))
        sides = self._stratified(groups) if self._strata else self._hashed()
        self._sides_of_groups = sides
        return array("B", (sides[group] for group in groups))

    def groups_by_side(self) -> Counter[int]:
        """Number of groups on each side."""
        groups = (
            node for node in range(self._groups.n_keys) if self._groups.group_of(node) == node
        )
        return Counter(self._sides_of_groups[group] for group in groups)

    def _hashed(self) -> array[int]:
        """The side of each group by its hash alone."""
        cuts = [int(cut * _SPREAD) for cut in self._cuts]
        draws = (self._draw(group) for group in range(self._groups.n_keys))
        return array("B", (bisect_right(cuts, draw) for draw in draws))

    def _stratified(self, groups: array[int]) -> array[int]:
        """The side of each group so that every stratum meets the shares, by rows."""
        n_keys = self._groups.n_keys
        sizes, strata = array("Q", bytes(8 * n_keys)), array("Q", b"\xff" * (8 * n_keys))
        for group, stratum in zip(groups, self._strata, strict=True):
            sizes[group] += 1
            # A group of several strata counts to one of them, whatever the order of its rows.
            strata[group] = min(stratum, strata[group])
        rows_of: Counter[int] = Counter()
        for size, stratum in zip(sizes, strata, strict=True):
            rows_of[stratum] += size
        sides, passed = array("B", bytes(n_keys)), Counter[int]()
        filled = (group for group in range(n_keys) if sizes[group])
        for group in sorted(filled, key=lambda each: (self._draw(each), self._groups.name(each))):
            stratum = strata[group]
            # The middle of a group decides, so that a large one is on the side of most of it.
            middle = Fraction(2 * passed[stratum] + sizes[group], 2 * rows_of[stratum])
            sides[group] = bisect_right(self._cuts, middle)
            passed[stratum] += sizes[group]
        return sides

    def _draw(self, group: int) -> int:
        text = f"split\0{self._request.seed}\0{self._groups.name(group):016x}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _notes(request: SplitRequest, n_bad: int, ungrouped: int) -> list[str]:
    notes = []
    if n_bad:
        notes.append(say.note_split_rows_skipped(str(request.file), n_bad))
    if ungrouped and request.group_by is not None:
        notes.append(say.note_split_rows_ungrouped(request.group_by, ungrouped))
    return notes
