"""One benchmark cycle: a LoRA run beside a QLoRA run on a suite, written, read and recomputed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vox_populi.contract.choices import Backend
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.evals.rates import Rate
from vox_populi.evals.scorecard_kpis import Kpi, ScorecardEvent, kpis_of, read_event
from vox_populi.evals.scorecard_suite import ScorecardSuite, suite_digest, suite_of
from vox_populi.files.json_fields import (
    FieldError,
    check_keys,
    inside,
    take,
    take_member,
    take_name,
    take_object,
)
from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.json_report import JsonReport
from vox_populi.files.strict_json import read_json_object
from vox_populi.files.whole_file import OWN_DIGEST, canonical_json, fits_own_digest, with_own_digest
from vox_populi.operator_messages import evals as say

CYCLE_SCHEMA = "vox_mens_scorecard_cycle_v1"
CYCLE_FILE = "cycle.json"
BACKENDS = (Backend.LORA, Backend.QLORA)
"""The candidate of a promotion and its reference."""
_MOST_BYTES = 256 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts(JsonReport):
    """What was measured, by name and content."""

    run: str
    """Name of the run folder."""
    backend: Backend
    lane: str
    adapter: str
    base: str
    train: str
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One backend in a cycle."""

    facts: RunFacts
    events: tuple[ScorecardEvent, ...]

    def as_json(self, max_attempts: int) -> JsonObject:
        """One entry of `conditions`."""
        return {
            **self.facts.as_json(),
            "kpis": kpi_values(kpis_of(self.events, max_attempts)),
            "events": [event.as_json() for event in self.events],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """A cycle as it was measured or read."""

    suite: ScorecardSuite
    tasks: str
    """Digest of the tasks."""
    settings: Mapping[str, object]
    conditions: Mapping[Backend, Condition]
    path: Path | None = None
    sha256: str = ""

    @property
    def suite_digest(self) -> str:
        """Digest of the suite with its tasks."""
        return suite_digest(self.suite.as_json(), self.tasks)

    @property
    def where(self) -> str:
        """Its place in messages."""
        return str(self.path)

    def document(self) -> dict[str, object]:
        """The file of the cycle; nothing in it depends on the clock."""
        return with_own_digest(
            {
                "schema": CYCLE_SCHEMA,
                "suite": {**self.suite.as_json(), "sha256": self.suite_digest},
                "tasks": self.tasks,
                "settings": dict(self.settings),
                "conditions": [
                    condition.as_json(self.suite.max_attempts)
                    for condition in self.conditions.values()
                ],
            }
        )


def kpi_values(kpis: Mapping[Kpi, Rate]) -> JsonObject:
    """KPIs as JSON."""
    return {kpi.value: rate.as_json() for kpi, rate in kpis.items()}


def cycle_file(path: Path) -> Path:
    """The file of a cycle, from its folder or itself."""
    return path / CYCLE_FILE if path.is_dir() else path


def read_cycle(path: Path) -> Cycle:
    """Read a cycle and compute it again from its events.

    Raises:
        ArtifactError: For a file that cannot be read, is none, or whose numbers are not those of
            its events or of its digest (MENS-V032).
    """
    file = cycle_file(path)
    try:
        raw = read_json_object(file, _MOST_BYTES)
    except ModelError as error:
        reasons = "; ".join(problem.what.rstrip(".") for problem in error.problems)
        raise ArtifactError(say.cycle_invalid(reasons).at(str(file))) from error
    try:
        check_keys(raw, ("schema", "suite", "tasks", "settings", "conditions", OWN_DIGEST))
        if take(raw, "schema", str) != CYCLE_SCHEMA:
            message = f"schema is not {CYCLE_SCHEMA}"
            raise FieldError(message)
        cycle = _cycle_of(raw, file)
    except FieldError as error:
        raise ArtifactError(say.cycle_invalid(str(error)).at(str(file))) from None
    is_own = fits_own_digest(raw)
    if not is_own or canonical_json(cycle.document()) != canonical_json(raw):
        raise ArtifactError(say.CYCLE_EDITED.at(str(file)))
    return cycle


def _cycle_of(raw: Mapping[str, object], file: Path) -> Cycle:
    with inside("suite"):
        written = dict(take_object(raw, "suite"))
        written.pop("sha256", None)
        suite = suite_of(written, task_files=())
    listed = raw["conditions"]
    if not isinstance(listed, list):
        message = "conditions is no list"
        raise FieldError(message)
    conditions: dict[Backend, Condition] = {}
    for number, each in enumerate(listed):
        with inside(f"conditions[{number}]"):
            if not isinstance(each, Mapping):
                message = "it is no object"
                raise FieldError(message)
            condition = _condition(each, suite.max_attempts)
        conditions[condition.facts.backend] = condition
    return Cycle(
        suite=suite,
        tasks=take_name(raw, "tasks"),
        settings=take_object(raw, "settings"),
        conditions=conditions,
        path=file,
        sha256=take(raw, OWN_DIGEST, str),
    )


def _condition(raw: Mapping[str, object], max_attempts: int) -> Condition:
    names = ("run", "backend", "lane", "adapter", "base", "train", "seed", "kpis", "events")
    check_keys(raw, names)
    events = raw["events"]
    if not isinstance(events, list) or not all(isinstance(each, Mapping) for each in events):
        message = "events is no list of objects"
        raise FieldError(message)
    return Condition(
        facts=RunFacts(
            run=take_name(raw, "run"),
            backend=take_member(raw, "backend", Backend),
            lane=take_name(raw, "lane"),
            adapter=take_name(raw, "adapter"),
            base=take_name(raw, "base"),
            train=take_name(raw, "train"),
            seed=take(raw, "seed", int),
        ),
        events=tuple(read_event(each, max_attempts) for each in events),
    )
