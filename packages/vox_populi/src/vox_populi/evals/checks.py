"""Judging one answer: each check passes or says why it does not."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vox_populi import extras
from vox_populi.errors import ConfigError, DataError
from vox_populi.evals.eval_task import Check, CheckKind, EvalTask, Measure
from vox_populi.evals.python_jail import JailEnd, JailLimits, run_python
from vox_populi.evals.task_files import compiled_pattern
from vox_populi.infer.python_syntax import fenced_or_all, parsed, python_problem
from vox_populi.operator_messages import evals as say
from vox_tensor.strict_json import parse_json

STUB_MARKERS = re.compile(
    r"\b(?:todo|tbd|fixme|placeholder|stub|coming soon|your code here"
    r"|not (?:yet )?implemented|notimplementederror)\b",
    re.IGNORECASE,
)
"""Whole words: `stubborn` is not a stub."""
_MOST_JSON = 1 << 16
_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check."""

    kind: CheckKind
    measure: Measure
    reason: str | None
    """Why it failed; `None` if it passed."""

    @property
    def passed(self) -> bool:
        """Whether the answer meets the check."""
        return self.reason is None


@dataclass(frozen=True, slots=True)
class Judged:
    """The outcome of all checks of one answer."""

    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Whether the answer meets all of them."""
        return all(verdict.passed for verdict in self.verdicts)

    def meets(self, measure: Measure) -> bool | None:
        """Whether it meets all checks of a measure; `None` if the task has none."""
        of_measure = [each.passed for each in self.verdicts if each.measure is measure]
        return all(of_measure) if of_measure else None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it failed, check by check; one that several share is there once."""
        found = (each.reason for each in self.verdicts if each.reason is not None)
        return tuple(dict.fromkeys(found))


def judge(task: EvalTask, answer: str) -> Judged:
    """Check an answer; a blank one meets nothing.

    Raises:
        EnvironmentFailure: For a task that runs code where it cannot be locked in.
    """
    if not answer.strip():
        blank = (Verdict(each.kind, each.measure, "the answer is blank") for each in task.checks)
        return Judged(tuple(blank))
    code = code_of(task, answer)
    return Judged(
        tuple(
            Verdict(check.kind, check.measure, _JUDGES[check.kind](check, answer, code))
            for check in task.checks
        )
    )


def code_of(task: EvalTask, answer: str) -> str:
    """The program of an answer: what it continues too, if it continues a text."""
    if task.completion is not None:
        return task.completion + answer
    return textwrap.dedent(fenced_or_all(answer))


def require_checks(tasks: Iterable[EvalTask]) -> None:
    """Check that every JSON Schema of the tasks is one.

    Raises:
        ConfigError: With each that is not.
        MissingExtraError: When there are any, and no library for them.
    """
    problems = []
    for task in tasks:
        for check in task.checks:
            reason = None if check.schema is None else _schema_problem(check.schema)
            if reason is not None:
                problems.append(
                    say.task_malformed(f"schema cannot be used: {reason}").at(task.where)
                )
    if problems:
        raise ConfigError(*problems)


def _contains(check: Check, answer: str, code: str) -> str | None:
    missing = [each for each in check.texts if not _is_in(each, answer, check)]
    return f"it does not contain {_shown(missing)}" if missing else None


def _excludes(check: Check, answer: str, code: str) -> str | None:
    there = [each for each in check.texts if _is_in(each, answer, check)]
    return f"it contains {_shown(there)}" if there else None


def _is_in(text: str, answer: str, check: Check) -> bool:
    return text.casefold() in answer.casefold() if check.ignore_case else text in answer


def _regex(check: Check, answer: str, code: str) -> str | None:
    pattern = compiled_pattern(check)
    if any(pattern.search(line) for line in answer.splitlines()):
        return None
    return f"no line matches {_shown(check.texts)}"


def _equals(check: Check, answer: str, code: str) -> str | None:
    if answer.strip() == check.texts[0].strip():
        return None
    return f"it is not {_shown(check.texts)}"


def _json(check: Check, answer: str, code: str) -> str | None:
    text = fenced_or_all(answer).strip()
    if len(text) > _MOST_JSON:
        return f"it is longer than {_MOST_JSON} characters"
    try:
        value = parse_json(text, "answer")
    except DataError as error:
        return f"it is not JSON: {error.problems[0].what}"
    if check.schema is None:
        return None
    errors = _schema_errors(check.schema, value)
    return f"{errors[0].json_path}: {errors[0].message[:_SHOWN]}" if errors else None


def _python(check: Check, answer: str, code: str) -> str | None:
    reason = python_problem(code)
    return None if reason is None else f"it is not Python: {reason}"


def _python_tests(check: Check, answer: str, code: str) -> str | None:
    limits = JailLimits(
        wall_seconds=check.timeout_seconds, cpu_seconds=max(1, round(check.timeout_seconds))
    )
    result = run_python(code, check.code, limits)
    if result.end is JailEnd.PASSED:
        return None
    last = (result.output.splitlines() or ["it ended before its tests did"])[-1]
    words = {
        JailEnd.TIME: "its tests took too long",
        JailEnd.OUTPUT: "it wrote too much",
        JailEnd.FAILED: f"its tests failed: {last[:_SHOWN]}",
    }
    return words[result.end]


def _no_stubs(check: Check, answer: str, code: str) -> str | None:
    marker = STUB_MARKERS.search(answer)
    if marker is not None:
        return f"it has a placeholder: {marker.group()}"
    tree = parsed(code)
    functions = [
        node
        for node in ast.walk(tree or ast.Module([], []))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    empty = [node.name for node in functions if all(map(_does_nothing, node.body))]
    return f"{empty[0]} has no body" if empty else None


def _does_nothing(node: ast.stmt) -> bool:
    """Whether a statement is `pass`, `...` or a docstring."""
    return isinstance(node, ast.Pass) or (
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    )


def _shown(texts: Iterable[str]) -> str:
    return ", ".join(repr(text) for text in texts)[:_SHOWN]


def _schema_errors(schema: Mapping[str, object], value: object) -> list[Any]:
    """What is wrong with a value; nothing is fetched, so a reference stays inside of the schema."""
    library, referencing = extras.load("jsonschema"), extras.load("referencing")
    validator = library.Draft202012Validator(dict(schema), registry=referencing.Registry())
    return sorted(validator.iter_errors(value), key=lambda each: str(each.json_path))


def _schema_problem(schema: Mapping[str, object]) -> str | None:
    library, referencing = extras.load("jsonschema"), extras.load("referencing")
    drafts = extras.load("referencing.jsonschema")
    try:
        library.Draft202012Validator.check_schema(dict(schema))
    except library.SchemaError as error:
        return f"{error.json_path}: {error.message[:_SHOWN]}"
    resource = drafts.DRAFT202012.create_resource(dict(schema))
    resolver = referencing.Registry().with_resource("", resource).resolver()
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except referencing.exceptions.Unresolvable:
            return f"nothing in it is {reference[:_SHOWN]}"
    return None


def _references(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key in ("$ref", "$dynamicRef") and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(node, list):
        for each in node:
            yield from _references(each)


_JUDGES: Mapping[CheckKind, Callable[[Check, str, str], str | None]] = {
    CheckKind.CONTAINS: _contains,
    CheckKind.EXCLUDES: _excludes,
    CheckKind.REGEX: _regex,
    CheckKind.EQUALS: _equals,
    CheckKind.JSON: _json,
    CheckKind.PYTHON: _python,
    CheckKind.PYTHON_TESTS: _python_tests,
    CheckKind.NO_STUBS: _no_stubs,
}
