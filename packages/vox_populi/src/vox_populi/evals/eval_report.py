"""The report of `eval-local`: written here, read back here, and refused if somebody edited it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vox_populi.errors import ArtifactError, ModelError
from vox_populi.evals.rates import Rate
from vox_populi.evals.task_results import TaskResult, differences_of, groups_of, metrics_of
from vox_populi.files.json_fields import FieldError, inside, take, take_number, take_object
from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.json_report import JsonReport
from vox_populi.files.strict_json import read_json_object
from vox_populi.files.whole_file import (
    OWN_DIGEST,
    canonical_json,
    fits_own_digest,
    with_own_digest,
)
from vox_populi.operator_messages import evals as say

REPORT_SCHEMA = "vox_mens_eval_report_v1"
REPORT_FILE = "eval_report.json"
_MOST_BYTES = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalDigests(JsonReport):
    """What a report is about, by content."""

    tasks: str
    base: str
    adapter: str | None
    settings: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredTasks:
    """What one model made of all tasks."""

    results: tuple[TaskResult, ...]

    def as_json(self) -> JsonObject:
        """Rates of all tasks, of each source and of each tag."""
        return {
            "metrics": _json(metrics_of(self.results)),
            "sources": self._groups(by_tag=False),
            "tags": self._groups(by_tag=True),
        }

    def _groups(self, *, by_tag: bool) -> JsonObject:
        groups = groups_of(self.results, by_tag=by_tag)
        return {name: _json(metrics_of(members)) for name, members in groups.items()}


def settings_digest(settings: Mapping[str, object]) -> str:
    """SHA-256 of the settings of an evaluation."""
    return "sha256:" + hashlib.sha256(canonical_json(settings).encode()).hexdigest()


def report_document(
    *,
    model: str,
    adapter: str | None,
    digests: EvalDigests,
    settings: Mapping[str, object],
    measured: MeasuredTasks,
    base: MeasuredTasks | None,
) -> dict[str, object]:
    """Everything a report says; nothing in it depends on the clock."""
    document: dict[str, object] = {
        "schema": REPORT_SCHEMA,
        "model": model,
        "adapter": adapter,
        "digests": digests.as_json(),
        "settings": dict(settings),
        **measured.as_json(),
        "base": None if base is None else base.as_json(),
        "differences": (
            None if base is None else _json(differences_of(base.results, measured.results))
        ),
        "tasks": [result.as_json() for result in measured.results],
        "base_tasks": None if base is None else [each.as_json() for each in base.results],
    }
    return with_own_digest(document)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadReport:
    """A report, read back."""

    path: Path
    sha256: str
    """Its own digest."""
    model: str
    tasks_digest: str
    metrics: Mapping[str, Mapping[str, Rate]]
    """Metrics by group: `all`, `source:NAME` and `tag:NAME`."""


ALL_TASKS = "all"


def read_report(path: Path) -> ReadReport:
    """Read a report, or the one in a folder.

    Raises:
        ArtifactError: For a file that cannot be read, is no report, or was edited.
    """
    file = path / REPORT_FILE if path.is_dir() else path
    try:
        raw = read_json_object(file, _MOST_BYTES)
    except ModelError as error:
        reasons = "; ".join(problem.what.rstrip(".") for problem in error.problems)
        raise ArtifactError(say.report_invalid(reasons).at(str(file))) from error
    try:
        schema = take(raw, "schema", str)
        if schema != REPORT_SCHEMA:
            message = f"schema is not {REPORT_SCHEMA}"
            raise FieldError(message)
        take(raw, OWN_DIGEST, str)
        if not fits_own_digest(raw):
            raise ArtifactError(say.REPORT_EDITED.at(str(file)))
        with inside("digests"):
            tasks = take(take_object(raw, "digests"), "tasks", str)
        return ReadReport(
            path=file,
            sha256=take(raw, OWN_DIGEST, str),
            model=take(raw, "model", str),
            tasks_digest=tasks,
            metrics=_all_metrics(raw),
        )
    except FieldError as error:
        raise ArtifactError(say.report_invalid(str(error)).at(str(file))) from None


def _all_metrics(raw: Mapping[str, object]) -> dict[str, Mapping[str, Rate]]:
    found: dict[str, Mapping[str, Rate]] = {ALL_TASKS: _rates(take_object(raw, "metrics"))}
    for kind, name in (("source", "sources"), ("tag", "tags")):
        groups = take_object(raw, name)
        found |= {f"{kind}:{each}": _rates(take_object(groups, each)) for each in groups}
    return found


def _rates(raw: Mapping[str, object]) -> dict[str, Rate]:
    return {name: _rate(take_object(raw, name)) for name in raw}


def _rate(raw: Mapping[str, object]) -> Rate:
    value, low, high = (take_number(raw, name) for name in ("value", "low", "high"))
    return Rate(value, low, high, take(raw, "tasks", int))


def _json(rates: Mapping[str, Rate]) -> JsonObject:
    return {name: rate.as_json() for name, rate in rates.items()}


def rates_beside(
    base: Sequence[TaskResult] | None, results: Sequence[TaskResult]
) -> list[tuple[str, Rate | None, Rate]]:
    """Each metric of the base, if measured, and of the model."""
    before = {} if base is None else metrics_of(base)
    return [(name, before.get(name), rate) for name, rate in metrics_of(results).items()]
