"""What differs between runs, and whether their held-out losses may be compared. No torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vox_populi.operator_messages import run_reports as say
from vox_populi.runs.run_record import RunRecord

INPUTS = ("base", "data", "valid", "tokenizer", "template", "init_from")
_ABSENT = "-"

_CHANGES_HELDOUT_ROWS = (
    *("--min-rating", "--context-filter", "--on-bad-row", "--on-long-row", "--seq-len"),
    *("--history", "--learn", "--system-prompt", "--template-date", "--qlora-ce-last-k"),
)
"""Settings that decide which held-out rows there are, and which of their tokens count."""
_CHANGES_SPLIT = ("--validation-split-ratio", "--seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One thing that is not the same in all runs."""

    name: str
    """A flag, or the name of an input or fact."""
    values: tuple[object, ...]
    """One for each run; `None` where it is absent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs beside each other, in the order in which they were passed."""

    runs: tuple[RunRecord, ...]
    settings: tuple[Difference, ...]
    """Settings that differ."""
    program: tuple[Difference, ...]
    """Device, number type and versions that differ."""
    inputs: Mapping[str, bool]
    """Whether an input is the same in all runs, by its digest; only inputs that a run has."""
    heldout_differs_by: tuple[str, ...]
    """Why held-out losses are not comparable: names of inputs and flags; empty if they are."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the losses must know."""
        if self.are_heldout_comparable:
            return ()
        return (say.note_heldout_differs(", ".join(self.heldout_differs_by)),)

    @property
    def are_heldout_comparable(self) -> bool:
        """Whether the held-out losses are of the same rows, tokens and graph."""
        return not self.heldout_differs_by


def compare_runs(runs: Sequence[RunRecord]) -> Comparison:
    """Find what differs between runs."""
    digests: list[Mapping[str, object]] = [run.digests for run in runs]
    present = [name for name in INPUTS if any(name in each for each in digests)]
    return Comparison(
        runs=tuple(runs),
        settings=_differences([run.settings for run in runs]),
        program=_differences([run.program for run in runs]),
        inputs={name: _is_same(digests, name) for name in present},
        heldout_differs_by=tuple(dict.fromkeys(_heldout_reasons(runs))),
    )


def heldout_group(runs: Sequence[RunRecord]) -> list[int]:
    """A number for each run; runs with the same number have comparable held-out losses."""
    groups: list[RunRecord] = []
    numbers = []
    for run in runs:
        same = (i for i, first in enumerate(groups) if not _heldout_reasons([first, run]))
        place = next(same, len(groups))
        if place == len(groups):
            groups.append(run)
        numbers.append(place)
    return numbers


def _differences(all_values: Sequence[Mapping[str, object]]) -> tuple[Difference, ...]:
    names = dict.fromkeys(name for values in all_values for name in values)
    return tuple(
        Difference(name=name, values=tuple(values.get(name) for values in all_values))
        for name in names
        if not _is_same(all_values, name)
    )


def _is_same(all_values: Sequence[Mapping[str, object]], name: str) -> bool:
    first = all_values[0].get(name, _ABSENT)
    return all(values.get(name, _ABSENT) == first for values in all_values)


def _heldout_reasons(runs: Sequence[RunRecord]) -> list[str]:
    digests: list[Mapping[str, object]] = [run.digests for run in runs]
    settings = [run.settings for run in runs]
    reasons = [name for name in ("tokenizer", "template") if not _is_same(digests, name)]
    if not _is_same(digests, "valid"):
        reasons.insert(0, "held-out rows")
    elif all("valid" not in each for each in digests):
        # Split off the training rows: which ones follows from the rows, the share and the seed.
        if not _is_same(digests, "data"):
            reasons.insert(0, "held-out rows")
        reasons += [flag for flag in _CHANGES_SPLIT if not _is_same(settings, flag)]
    reasons += [flag for flag in _CHANGES_HELDOUT_ROWS if not _is_same(settings, flag)]
    return reasons + ["graph"] * (len({run.graph_id for run in runs}) > 1)
