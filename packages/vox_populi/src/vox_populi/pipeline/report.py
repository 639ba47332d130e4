"""Reports of runs: `vox mens report`. No torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vox_populi.files.json_numbers import JsonObject
from vox_populi.pages.html_file import require_free, write_page
from vox_populi.pages.run_page import RunPage, run_page
from vox_populi.pipeline.compare import require_different
from vox_populi.pipeline.list_runs import record_as_json
from vox_populi.runs.run_comparison import compare_runs
from vox_populi.runs.run_curves import RunCurves, read_curves
from vox_populi.runs.run_dir import TELEMETRY_FILE, require_regular_files
from vox_populi.runs.run_record import RunRecord, read_run_record
from vox_populi.runs.samples import read_samples

_MOST_RANGES = 400
_RANGES_OF_ALL = 1200
"""Together, so that a page of many runs stays small."""
_FEWEST_RANGES = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """Which runs are reported, and where the page goes."""

    runs: tuple[Path, ...]
    html: Path | None = None
    """The page; `None` writes none."""
    force: bool = False
    """Replace an existing page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport(RunPage):
    """Runs with their curves; a page shows them."""

    html: Path | None

    def as_json(self) -> JsonObject:
        """The fields of `vox mens report --json`."""
        return {
            "runs": list(self._runs()),
            "heldout_comparable": self.found.are_heldout_comparable,
            "heldout_differs_by": list(self.found.heldout_differs_by),
            "html": None if self.html is None else str(self.html),
            "notes": list(self.notes),
        }

    def _runs(self) -> Iterator[JsonObject]:
        for run, curves, samples in zip(self.found.runs, self.curves, self.samples, strict=True):
            series = {key: each.points() for key, each in curves.series.items() if each.ranges}
            yield {
                **record_as_json(run),
                "curves": {key: [list(point) for point in each] for key, each in series.items()},
                "samples": len(samples),
            }


def report_runs(request: ReportRequest) -> RunReport:
    """Read runs, and write a page of them if asked to.

    Raises:
        ConfigError: For a run that is passed twice.
        ArtifactError: For a folder that is not a run, or a damaged one.
        PreflightError: When the page would replace something.
        EnvironmentFailure: When it cannot be written.
    """
    require_different(request.runs)
    if request.html is not None:
        require_free(request.html, _inputs(request.runs), force=request.force)
    limit = max(min(_MOST_RANGES, _RANGES_OF_ALL // max(len(request.runs), 1)), _FEWEST_RANGES)
    read = [_read(run, limit) for run in request.runs]
    found = compare_runs([record for record, _ in read])
    report = RunReport(
        found=found,
        names=tuple(_names(found.runs)),
        curves=tuple(curves for _, curves in read),
        samples=tuple(read_samples(run) for run in request.runs),
        html=request.html,
    )
    if request.html is not None:
        write_page(request.html, run_page(report))
    return report


def _read(run: Path, limit: int) -> tuple[RunRecord, RunCurves]:
    require_regular_files(run)
    history, curves = read_curves(run / TELEMETRY_FILE, limit)
    return read_run_record(run, history), curves


def _inputs(runs: Sequence[Path]) -> Iterator[Path]:
    for run in runs:
        yield from (path for path in run.glob("*") if path.is_file())


def _names(runs: Sequence[RunRecord]) -> Iterator[str]:
    """The folder's name, and with it that of the folder above where two are the same."""
    names = [run.name for run in runs]
    for run in runs:
        is_unique = names.count(run.name) == 1
        yield run.name if is_unique else f"{run.path.resolve().parent.name}/{run.name}"
