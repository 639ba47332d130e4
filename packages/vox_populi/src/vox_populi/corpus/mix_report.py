"""Counts of a mix: rows in, kept, and dropped by reason, per source and in total."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vox_populi.corpus.mix_config import MixConfig, MixSource

REPORT_SCHEMA = "vox_mens_mix_report_v1"


class MixDrop(StrEnum):
    """Why a row of a source is not in the output; the first that applies."""

    BAD_ROW = "bad_row"
    RATING = "rating"
    LANE = "lane"
    LEGACY = "legacy"
    DUPLICATE = "duplicate"
    SAMPLE = "sample"
    WEIGHT = "weight"


class SkipReason(StrEnum):
    """Why a source contributes nothing."""

    MISSING_FILE = "missing_file"
    MISSING_FILE_OPTIONAL = "missing_file_optional"
    WEIGHT_ZERO = "weight_zero"
    EMPTY_FILE = "empty_file"
    NO_LINES_PASSED_FILTERS = "no_lines_passed_filters"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport:
    """Counts of one source. `input_rows` is `kept` plus everything dropped."""

    source: MixSource
    input_rows: int = 0
    """Lines that are not blank."""
    kept: int = 0
    """Rows of the file that are in the output."""
    repeats: int = 0
    """Copies beyond the first of each."""
    dropped: Mapping[MixDrop, int]
    """Every reason, even if no row had it."""
    duplicates: int = 0
    """Rows with the same messages as an earlier one, whether or not they are left out."""
    sha256: str | None = None
    """SHA-256 of the file's bytes; `None` if it was not read."""
    skipped_reason: SkipReason | None = None

    @property
    def emitted_rows(self) -> int:
        """Its rows in the output, copies included."""
        return self.kept + self.repeats

    def as_json(self, shown_path: str, total: int) -> dict[str, object]:
        """The fields of the report; `total` is the number of rows of the output."""
        return {
            **self.source.as_json(shown_path),
            "input_rows": self.input_rows,
            "kept": self.kept,
            "repeats": self.repeats,
            "emitted_rows": self.emitted_rows,
            "dropped": {
                reason.value: count
                for reason, count in self.dropped.items()
                # Only a mix with rules has this reason, and reports of others keep their bytes.
                if count or reason is not MixDrop.LEGACY
            },
            "duplicates": self.duplicates,
            "share_of_output": round(self.emitted_rows / total, 6) if total else 0.0,
            "sha256": self.sha256,
            "skipped_reason": self.skipped_reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MixReport:
    """The whole mix. The same inputs and seed give the same report, wherever they are stored."""

    config: MixConfig
    strict: bool
    """Whether a missing source would have been refused."""
    on_bad_row: str
    sources: tuple[SourceReport, ...]
    lanes: Mapping[str, int]
    """Rows of the output by lane."""
    output: Path
    output_sha256: str

    @property
    def total(self) -> int:
        """Rows of the output."""
        return sum(source.emitted_rows for source in self.sources)

    def as_json(self) -> dict[str, object]:
        """The fields of the report file: names and counts, without row content or folders."""
        return {
            "schema": REPORT_SCHEMA,
            "config": self.config.file.name,
            "config_fingerprint": self.config.fingerprint(),
            "strict": self.strict,
            "on_bad_row": self.on_bad_row,
            **{key: value for key, value in self.config.as_json().items() if key != "sources"},
            "sources": [
                source.as_json(self.config.shown_path(source.source), self.total)
                for source in self.sources
            ],
            "lanes": dict(sorted(self.lanes.items())),
            "total_rows": self.total,
            "output": self.output.name,
            "output_sha256": self.output_sha256,
        }


def report_path(output: Path) -> Path:
    """Path of the report of a mixed file, next to it."""
    return output.with_name(f"{output.stem}.mix_report.json")
