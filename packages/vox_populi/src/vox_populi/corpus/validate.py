"""Checking a corpus without a tokenizer, and writing the rows that pass to another file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi.data.row_files.open_rows import open_rows
from vox_populi.data.row_files.row_file import FileRow, is_about_file
from vox_populi.data.row_formats import RowShape, learns_something, parse_row, row_shape
from vox_populi.errors import DataError
from vox_populi.files.json_report import JsonReport
from vox_populi.operator_messages import data as say
from vox_tensor.errors import Problem
from vox_tensor.jsonl import write_jsonl
from vox_tensor.problem_log import ProblemLog

UNRATED = "unrated"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationReport(JsonReport):
    """Contents and problems of a corpus."""

    path: Path
    rows: int
    """Rows, and whatever is there instead of a row."""
    accepted: int
    rejected: int
    problems: tuple[Problem, ...]
    """The first 20, each with file and line, and a count of the others."""
    problems_by_code: Mapping[str, int]
    shapes: Mapping[str, int]
    """Accepted rows by format."""
    ratings: Mapping[str, int]
    """Accepted rows by rating, `unrated` included."""
    ignored_labels: Mapping[str, int] = field(default_factory=dict)
    """Number of accepted rows with an unusable value, by label key."""
    output: Path | None = None
    """File to which the accepted rows were written."""

    @property
    def ok(self) -> bool:
        """Whether there are rows and every row can be trained on."""
        return not self.problems


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesReport:
    """The reports of several files."""

    files: tuple[ValidationReport, ...]
    output: Path | None = None
    """File to which the accepted rows of all were written."""

    @property
    def ok(self) -> bool:
        """Whether every row of every file can be trained on."""
        return all(each.ok for each in self.files)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems of all files."""
        return tuple(problem for each in self.files for problem in each.problems)

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(each.rows for each in self.files)

    @property
    def accepted(self) -> int:
        """Rows of all files that can be trained on."""
        return sum(each.accepted for each in self.files)

    def as_json(self) -> dict[str, object]:
        """The fields that `--json` prints for more than one file."""
        return {
            "files": [each.as_json() for each in self.files],
            "rows": self.rows,
            "accepted": self.accepted,
            "rejected": self.rows - self.accepted,
            "output": None if self.output is None else str(self.output),
        }


def validate_files(paths: Sequence[Path], output: Path | None = None) -> FilesReport:
    """Check every row of several files; optionally write those that pass to one file, in order.

    Raises:
        DataError: With every file that cannot be read, or is the output.
        OSError: When the output cannot be written.
    """
    if output is not None and any(_is_same_file(path, output) for path in paths):
        raise DataError(say.OUTPUT_IS_INPUT.at(str(output)))
    checks = [_Check(path) for path in paths]
    _run_all(checks)
    if output is None or not any(check.accepted for check in checks):
        return FilesReport(files=tuple(check.report(None) for check in checks))
    checks = [_Check(path) for path in paths]
    write_jsonl(output, (row for check in checks for row in check.accepted_rows()))
    return FilesReport(files=tuple(check.report(None) for check in checks), output=output)


def _run_all(checks: Sequence[_Check]) -> None:
    problems: list[Problem] = []
    for check in checks:
        try:
            check.run()
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError(*problems)


def validate_corpus(path: Path, output: Path | None = None) -> ValidationReport:
    """Check every row of a file in one pass; optionally copy those that pass.

    Bad rows are counted and reported, not raised, so that a report can be shown for a corpus
    of any quality. The input is never modified.

    Args:
        path: A file of rows in any format.
        output: File for the accepted rows, with keys and order kept. Replaced atomically, at the
            end, and only if a row was accepted.

    Raises:
        DataError: When the input cannot be read, or is the output.
        OSError: When the output cannot be written.
    """
    if output is not None and _is_same_file(path, output):
        raise DataError(say.OUTPUT_IS_INPUT.at(str(output)))
    check = _Check(path)
    check.run()
    if output is None or not check.accepted:
        return check.report(None)
    # A second pass, so that a file without a good row replaces nothing.
    again = _Check(path)
    write_jsonl(output, again.accepted_rows())
    return again.report(output)


def _is_same_file(path: Path, output: Path) -> bool:
    """Whether two paths are the same file, also through links and other spellings."""
    try:
        return output.samefile(path)
    except OSError:
        return False


@dataclass(slots=True)
class _Check:
    """Counts of one pass; memory does not grow with the rows."""

    path: Path
    rows: int = 0
    accepted: int = 0
    shapes: Counter[str] = field(default_factory=Counter)
    ratings: Counter[str] = field(default_factory=Counter)
    ignored_labels: Counter[str] = field(default_factory=Counter)
    log: ProblemLog = field(init=False)

    def __post_init__(self) -> None:
        self.log = ProblemLog(str(self.path))

    def run(self) -> None:
        """Go through the file."""
        for _ in self.accepted_rows():
            pass

    def accepted_rows(self) -> Iterator[dict[str, object]]:
        """Yield the accepted rows, as they are in the file."""
        rows = open_rows(self.path)
        for item in rows.scan():
            if isinstance(item, Problem):
                if is_about_file(item, rows):
                    raise DataError(item)
                self.rows += 1
                self.log.add([item])
                continue
            self.rows += 1
            if self._accepts(item):
                yield item.value

    def _accepts(self, row: FileRow) -> bool:
        try:
            record = parse_row(row.value, row.line, row.where)
        except DataError as error:
            self.log.add(error.problems)
            return False
        if not learns_something(record):
            self.log.add([say.nothing_to_learn(truncated=False).at(row.place)])
            return False
        shape = row_shape(row.value) or RowShape.PROMPT_RESPONSE
        self.accepted += 1
        self.shapes[shape.value] += 1
        self.ignored_labels.update(record.ignored)
        self.ratings[UNRATED if record.rating is None else str(record.rating)] += 1
        return True

    def report(self, output: Path | None) -> ValidationReport:
        """The counts."""
        if not self.rows:
            self.log.add([say.DATA_FILE_EMPTY.at(str(self.path))])
        return ValidationReport(
            path=self.path,
            rows=self.rows,
            accepted=self.accepted,
            rejected=self.rows - self.accepted,
            problems=self.log.shown(),
            problems_by_code=dict(sorted(self.log.by_code.items())),
            shapes=dict(sorted(self.shapes.items())),
            ratings=dict(sorted(self.ratings.items())),
            ignored_labels=dict(sorted(self.ignored_labels.items())),
            output=output,
        )
