"""The suite of a scorecard: tasks, attempts, seed, and what promotion takes. It is fixed by digest.

`schemas/scorecard-suite.schema.json` says the same; tests hold the two to each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from vox_populi.errors import ConfigError
from vox_populi.evals.eval_task import EvalTask, tasks_digest
from vox_populi.evals.scorecard_kpis import REQUIRED_KPIS
from vox_populi.files.json_fields import (
    FieldError,
    check_keys,
    take_count,
    take_name,
    take_names,
    take_number,
    take_object,
)
from vox_populi.files.json_report import HIDDEN, JsonReport
from vox_populi.files.whole_file import canonical_json
from vox_populi.number_ranges import SEED
from vox_populi.operator_messages import evals as say

LEAST_CYCLES = 2
"""What the source system's policy asks for; a suite may ask for more and never for fewer."""
MOST_CYCLES = 100
MOST_ATTEMPTS = 9
_DEFAULT_ATTEMPTS, _DEFAULT_MARGIN = 4, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorecardSuite(JsonReport):
    """What is measured, and what promotion takes."""

    name: str
    task_files: tuple[str, ...] = field(metadata=HIDDEN)
    """Paths relative to the folder of the suite."""
    max_attempts: int = _DEFAULT_ATTEMPTS
    """Tries per task: the first, and those after an error was fed back."""
    seed: int = 0
    """Seed of sampling in every cycle, whatever the tasks say."""
    cycles: int = LEAST_CYCLES
    """Least number of cycles."""
    margin: float = _DEFAULT_MARGIN
    """How much worse than the reference the candidate may be in any KPI, as a share."""
    floors: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """Least value of a KPI of the candidate, in every cycle."""


def suite_digest(suite: Mapping[str, object], tasks: str) -> str:
    """SHA-256 over a suite's settings and the digest of its tasks."""
    text = canonical_json({"suite": dict(suite), "tasks": tasks})
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def digest_of_suite(suite: ScorecardSuite, tasks: tuple[EvalTask, ...]) -> str:
    """The digest of a suite with its tasks."""
    return suite_digest(suite.as_json(), tasks_digest(tasks))


def parse_suite(document: object, where: str) -> ScorecardSuite:
    """The suite of a document.

    Raises:
        ConfigError: For an unknown key or a value that makes no sense.
    """
    try:
        if not isinstance(document, Mapping):
            message = "it is no object with keys"
            raise FieldError(message)
        return suite_of(document, task_files=take_names(document, "tasks"))
    except FieldError as error:
        raise ConfigError(say.suite_malformed(str(error)).at(where)) from None


def suite_of(raw: Mapping[str, object], task_files: tuple[str, ...]) -> ScorecardSuite:
    """The suite of fields.

    Raises:
        FieldError: As `parse_suite` says.
    """
    optional = ("max_attempts", "seed", "cycles", "margin", "floors")
    check_keys(raw, ("name",), (*optional, "tasks"))
    given: dict[str, int] = {}
    for name, lowest, highest in (
        ("max_attempts", 1, MOST_ATTEMPTS),
        ("seed", 0, int(SEED.highest)),
        ("cycles", LEAST_CYCLES, MOST_CYCLES),
    ):
        if name in raw:
            given[name] = take_count(raw, name, lowest=lowest, highest=highest)
    return ScorecardSuite(
        name=take_name(raw, "name"),
        task_files=task_files,
        margin=_share(raw, "margin") if "margin" in raw else _DEFAULT_MARGIN,
        floors=_floors(take_object(raw, "floors")) if "floors" in raw else {},
        **given,
    )


def _floors(raw: Mapping[str, object]) -> dict[str, float]:
    check_keys(raw, (), [kpi.value for kpi in REQUIRED_KPIS if not kpi.less_is_better])
    return {name: _share(raw, name) for name in raw}


def _share(raw: Mapping[str, object], name: str) -> float:
    value = take_number(raw, name)
    if not 0 <= value <= 1:
        message = f"{name} is not from 0 to 1"
        raise FieldError(message)
    return value
