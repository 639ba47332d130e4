"""Comparing runs: `vox mens compare`. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vox_populi.errors import ConfigError
from vox_populi.files.json_numbers import JsonObject
from vox_populi.operator_messages import run_reports as say
from vox_populi.pipeline.list_runs import record_as_json
from vox_populi.runs.run_comparison import Comparison, Difference, compare_runs
from vox_populi.runs.run_record import read_run_record


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareReport:
    """Runs beside each other."""

    found: Comparison

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the losses must know."""
        return self.found.notes

    def as_json(self) -> JsonObject:
        """The fields of `vox mens compare --json`."""
        found = self.found
        return {
            "runs": [record_as_json(run) for run in found.runs],
            "settings": _as_json(found.settings),
            "program": _as_json(found.program),
            "same_inputs": dict(found.inputs),
            "heldout_comparable": found.are_heldout_comparable,
            "heldout_differs_by": list(found.heldout_differs_by),
            "notes": list(self.notes),
        }


def compare(runs: Sequence[Path]) -> CompareReport:
    """Read runs and find what differs.

    Raises:
        ConfigError: For fewer than two runs, or one that is passed twice.
        ArtifactError: For a folder that is not a run, or a damaged one.
    """
    if len(runs) < 2:
        raise ConfigError(say.TOO_FEW_RUNS.at(str(runs[0])) if runs else say.TOO_FEW_RUNS)
    require_different(runs)
    return CompareReport(found=compare_runs([read_run_record(run) for run in runs]))


def require_different(runs: Sequence[Path]) -> None:
    """Refuse a run that is passed twice.

    Raises:
        ConfigError: With each of them.
    """
    places = [run.resolve() for run in runs]
    twice = [run for i, run in enumerate(runs) if places[i] in places[:i]]
    if twice:
        raise ConfigError(*(say.SAME_RUN_TWICE.at(str(run)) for run in twice))


def _as_json(differences: Sequence[Difference]) -> dict[str, list[object]]:
    return {each.name: list(each.values) for each in differences}
