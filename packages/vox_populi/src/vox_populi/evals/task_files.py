"""Reading tasks: JSON Lines, or a document with `defaults` and `tasks`, with every problem named.

`schemas/eval-tasks.schema.json` says the same; tests hold the two to each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vox_populi import number_ranges
from vox_populi.corpus.line_pattern import LinePattern
from vox_populi.corpus.pattern_syntax import PatternRefusedError
from vox_populi.errors import DataError
from vox_populi.evals.eval_task import (
    DEFAULT_TIMEOUT,
    MEASURE_OF_KIND,
    UNKNOWN_SOURCE,
    Check,
    CheckKind,
    EvalTask,
    Measure,
    Sampling,
)
from vox_populi.files.json_fields import (
    FieldError,
    check_keys,
    inside,
    take,
    take_member,
    take_name,
    take_names,
    take_number,
    take_object,
    take_present,
    take_texts,
)
from vox_populi.number_ranges import NumberRange
from vox_populi.operator_messages import evals as say
from vox_populi.operator_messages.wording import capped
from vox_tensor.errors import Problem
from vox_tensor.jsonl import read_jsonl
from vox_tensor.records import Message, Role

SAMPLES = NumberRange(lowest=1, highest=1000)
_TIMEOUT = NumberRange(lowest=0.1, highest=120, is_whole=False)
_TASK_KEYS = ("prompt", "messages", "completion", "source", "tags", "checks")
_SAMPLING_RANGES: Mapping[str, NumberRange] = {
    "samples": SAMPLES,
    "max_new_tokens": number_ranges.NEW_TOKENS,
    "temperature": number_ranges.TEMPERATURE,
    "top_k": NumberRange(lowest=0, highest=2**31 - 1),
    "top_p": number_ranges.POSITIVE_SHARE,
    "repetition_penalty": number_ranges.PENALTY,
    "seed": number_ranges.SEED,
}
_TEXT_KINDS = (CheckKind.CONTAINS, CheckKind.EXCLUDES)
_OPTIONAL_OF_KIND = {
    CheckKind.CONTAINS: ("ignore_case",),
    CheckKind.EXCLUDES: ("ignore_case",),
    CheckKind.REGEX: ("ignore_case",),
    CheckKind.JSON: ("schema",),
    CheckKind.PYTHON_TESTS: ("timeout_seconds",),
}
_REQUIRED_OF_KIND = {
    CheckKind.CONTAINS: ("texts",),
    CheckKind.EXCLUDES: ("texts",),
    CheckKind.REGEX: ("pattern",),
    CheckKind.EQUALS: ("text",),
    CheckKind.PYTHON_TESTS: ("code",),
}


@dataclass(frozen=True, slots=True)
class TaskFile:
    """A file of tasks."""

    path: Path
    document: object | None = None
    """Its content, if it is one document (YAML or JSON); `None` for JSON Lines."""


def read_tasks(
    files: Sequence[TaskFile], overrides: Mapping[str, object] | None = None
) -> tuple[EvalTask, ...]:
    """All tasks of some files.

    Args:
        files: The files.
        overrides: Settings of sampling that win over those of the files.

    Raises:
        DataError: With every task that cannot be used, or for files without any.
    """
    problems: list[Problem] = []
    found: dict[str, EvalTask] = {}
    for raw, defaults, where in _entries(files, problems):
        try:
            task = _task({**defaults, **_object(raw)}, where, overrides or {})
        except FieldError as error:
            problems.append(say.task_malformed(str(error)).at(where))
            continue
        if task.task_id in found:
            first = found[task.task_id].where
            problems.append(say.task_id_repeated(task.task_id, first).at(where))
        found.setdefault(task.task_id, task)
    if problems:
        raise DataError(*capped(problems))
    if not found:
        raise DataError(say.TASKS_MISSING.at(", ".join(str(file.path) for file in files)))
    return tuple(found.values())


def _entries(
    files: Iterable[TaskFile], problems: list[Problem]
) -> Iterator[tuple[object, Mapping[str, object], str]]:
    """Each task's fields, the defaults for them, and the place."""
    for file in files:
        if file.document is None:
            for line in read_jsonl(file.path):
                yield line.value, {}, f"{file.path}:{line.line}"
            continue
        try:
            document = _object(file.document)
            check_keys(document, ("tasks",), ("defaults",))
            defaults = take_object(document, "defaults") if "defaults" in document else {}
            check_keys(defaults, (), (*_SAMPLING_RANGES, "source", "tags", "checks"))
            tasks = document["tasks"]
            if not isinstance(tasks, list):
                message = "tasks is no list"
                raise FieldError(message)
        except FieldError as error:
            problems.append(say.task_malformed(str(error)).at(str(file.path)))
            continue
        for number, raw in enumerate(tasks):
            yield raw, defaults, f"{file.path}: tasks[{number}]"


def _object(raw: object) -> Mapping[str, object]:
    if not isinstance(raw, Mapping):
        message = "it is no object with keys"
        raise FieldError(message)
    return raw


def _task(raw: Mapping[str, object], where: str, overrides: Mapping[str, object]) -> EvalTask:
    check_keys(raw, ("id", "checks"), (*_TASK_KEYS, *_SAMPLING_RANGES))
    asked = [key for key in ("prompt", "messages", "completion") if key in raw]
    if len(asked) != 1:
        message = "it takes one of prompt, messages and completion"
        raise FieldError(message)
    checks = raw["checks"]
    if not isinstance(checks, list) or not checks:
        message = "checks is no list, or empty: nothing would decide whether an answer is right"
        raise FieldError(message)
    sampling = _sampling({**raw, **overrides})
    task = EvalTask(
        task_id=take_name(raw, "id"),
        completion=take_name(raw, "completion") if "completion" in raw else None,
        source=take_name(raw, "source") if "source" in raw else UNKNOWN_SOURCE,
        tags=take_names(raw, "tags") if "tags" in raw else (),
        sampling=sampling,
        checks=tuple(_named_check(number, each) for number, each in enumerate(checks)),
        where=where,
    )
    if "completion" in raw:
        return task
    return replace(task, messages=_messages(raw))


def _messages(raw: Mapping[str, object]) -> tuple[Message, ...]:
    if "prompt" in raw:
        return (Message(Role.USER, take_name(raw, "prompt")),)
    given = raw["messages"]
    if not isinstance(given, list) or not given:
        message = "messages is no list, or empty"
        raise FieldError(message)
    messages = []
    for number, each in enumerate(given):
        with inside(f"messages[{number}]"):
            fields = _object(each)
            check_keys(fields, ("role", "content"))
            role = take_member(fields, "role", Role)
            messages.append(Message(role, take(fields, "content", str)))
    if messages[-1].role is Role.ASSISTANT:
        message = "messages ends with an answer; it must end where the answer starts"
        raise FieldError(message)
    return tuple(messages)


def _sampling(raw: Mapping[str, object]) -> Sampling:
    given: dict[str, object] = {}
    for name, allowed in _SAMPLING_RANGES.items():
        if name in raw:
            value = raw[name]
            if not allowed.holds(value):
                message = f"{name} is not {allowed}"
                raise FieldError(message)
            given[name] = value
    sampling = replace(Sampling(), **given)  # type: ignore[arg-type]  # ranges are of the fields' types
    if sampling.samples > 1 and sampling.temperature == 0:
        message = (
            f"samples is {sampling.samples}, but temperature 0 gives the same answer each time"
        )
        raise FieldError(message)
    return sampling


def _named_check(number: int, raw: object) -> Check:
    with inside(f"checks[{number}]"):
        return _check(_object(raw))


def _check(raw: Mapping[str, object]) -> Check:
    kind = take_member(raw, "kind", CheckKind)
    required = _REQUIRED_OF_KIND.get(kind, ())
    check_keys(raw, ("kind", *required), ("measure", *_OPTIONAL_OF_KIND.get(kind, ())))
    measure = take_member(raw, "measure", Measure) if "measure" in raw else MEASURE_OF_KIND[kind]
    check = Check(
        kind=kind,
        measure=measure,
        texts=_texts(kind, raw),
        ignore_case=take_present(raw, "ignore_case", bool) or False,
        schema=take_object(raw, "schema") if "schema" in raw else None,
        code=take_name(raw, "code") if kind is CheckKind.PYTHON_TESTS else "",
        timeout_seconds=_timeout(raw),
    )
    if kind is CheckKind.REGEX:
        compiled_pattern(check)
    return check


def _texts(kind: CheckKind, raw: Mapping[str, object]) -> tuple[str, ...]:
    if kind in _TEXT_KINDS:
        return take_texts(raw, "texts")
    if kind is CheckKind.REGEX:
        return (take_name(raw, "pattern"),)
    return (take(raw, "text", str),) if kind is CheckKind.EQUALS else ()


def _timeout(raw: Mapping[str, object]) -> float:
    if "timeout_seconds" not in raw:
        return DEFAULT_TIMEOUT
    seconds = take_number(raw, "timeout_seconds")
    if not _TIMEOUT.holds(seconds):
        message = f"timeout_seconds is not {_TIMEOUT}"
        raise FieldError(message)
    return seconds


def compiled_pattern(check: Check) -> LinePattern:
    """The pattern of a `regex` check.

    Raises:
        FieldError: For one that cannot be searched for in linear time.
    """
    try:
        return LinePattern(check.texts[0], ignore_case=check.ignore_case)
    except PatternRefusedError as error:
        message = f"pattern cannot be used: {error}"
        raise FieldError(message) from None
