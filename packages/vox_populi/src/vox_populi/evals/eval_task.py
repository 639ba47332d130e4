"""A task of an evaluation: what is asked, how it is sampled, and what an answer is checked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.json_report import JsonReport
from vox_populi.files.whole_file import canonical_json
from vox_tensor.records import Message

DEFAULT_TIMEOUT = 10.0
UNKNOWN_SOURCE = "unknown"


class CheckKind(StrEnum):
    """What an answer can be checked for."""

    CONTAINS = "contains"
    EXCLUDES = "excludes"
    REGEX = "regex"
    EQUALS = "equals"
    JSON = "json"
    PYTHON = "python"
    PYTHON_TESTS = "python_tests"
    NO_STUBS = "no_stubs"


class Measure(StrEnum):
    """What a check says about an answer; a report has a rate for each."""

    SYNTAX = "syntax"
    """Whether it has the right form."""
    SEMANTIC = "semantic"
    """Whether it says the right thing."""
    STUB_FREE = "stub_free"
    """Whether it is finished."""


MEASURE_OF_KIND = {
    CheckKind.CONTAINS: Measure.SEMANTIC,
    CheckKind.EXCLUDES: Measure.SEMANTIC,
    CheckKind.REGEX: Measure.SEMANTIC,
    CheckKind.EQUALS: Measure.SEMANTIC,
    CheckKind.JSON: Measure.SYNTAX,
    CheckKind.PYTHON: Measure.SYNTAX,
    CheckKind.PYTHON_TESTS: Measure.SEMANTIC,
    CheckKind.NO_STUBS: Measure.STUB_FREE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(JsonReport):
    """One thing that an answer must meet."""

    kind: CheckKind
    measure: Measure
    texts: tuple[str, ...] = ()
    """Strings of `contains`, `excludes` and `equals`; the pattern of `regex`."""
    ignore_case: bool = False
    schema: Mapping[str, object] | None = None
    """JSON Schema of `json`."""
    code: str = ""
    """Tests of `python_tests`, run after the answer."""
    timeout_seconds: float = DEFAULT_TIMEOUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling(JsonReport):
    """How answers are made."""

    samples: int = 1
    max_new_tokens: int = 256
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalTask:
    """One task."""

    task_id: str
    messages: tuple[Message, ...] = ()
    """A conversation that ends where the answer starts; empty for a text to continue."""
    completion: str | None = None
    """A text that is continued as it is, without a template."""
    source: str = UNKNOWN_SOURCE
    tags: tuple[str, ...] = ()
    sampling: Sampling = Sampling()
    checks: tuple[Check, ...] = ()
    where: str = ""
    """Its place in messages."""

    @property
    def prompt(self) -> str:
        """What is asked, for people."""
        if self.completion is not None:
            return self.completion
        return "\n\n".join(message.content for message in self.messages)

    @property
    def runs_code(self) -> bool:
        """Whether a check runs the answer."""
        return any(check.kind is CheckKind.PYTHON_TESTS for check in self.checks)

    @property
    def needs_schema(self) -> bool:
        """Whether a check needs a JSON Schema library."""
        return any(check.schema is not None for check in self.checks)

    def seed_of(self, sample: int) -> int:
        """Seed of one sample: a function of the task alone, independent of its place in a file."""
        named = f"{self.sampling.seed}/{self.task_id}/{sample}".encode()
        return int.from_bytes(hashlib.sha256(named).digest()[:8], "big") >> 1

    def as_json(self) -> JsonObject:
        """Everything that decides the result."""
        return {
            "id": self.task_id,
            "messages": [[each.role.value, each.content] for each in self.messages],
            "completion": self.completion,
            "source": self.source,
            "tags": list(self.tags),
            "sampling": self.sampling.as_json(),
            "checks": [check.as_json() for check in self.checks],
        }


def tasks_digest(tasks: Iterable[EvalTask]) -> str:
    """SHA-256 over all tasks as they are asked, sampling included, in order of their ids."""
    outer = hashlib.sha256()
    for task in sorted(tasks, key=lambda each: each.task_id):
        outer.update(canonical_json(task.as_json()).encode("utf-8", "surrogatepass") + b"\n")
    return f"sha256:{outer.hexdigest()}"
