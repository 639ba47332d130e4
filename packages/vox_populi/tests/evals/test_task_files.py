"""Tasks are read as the schema says, with every problem named; the digest follows the content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from packages.vox_populi.tests.schemas import meets_schema
from vox_populi.errors import DataError
from vox_populi.evals.eval_task import EvalTask, tasks_digest
from vox_populi.evals.task_files import TaskFile, read_tasks

TASK: dict[str, Any] = {"id": "a", "prompt": "Say a.", "checks": [{"kind": "python"}]}


def read(*tasks: object, overrides: Mapping[str, object] | None = None) -> tuple[EvalTask, ...]:
    return read_tasks([TaskFile(Path("t.yaml"), {"tasks": list(tasks)})], overrides)


GOOD: list[dict[str, Any]] = [
    TASK,
    {**TASK, "source": "s", "tags": ["x", "y"], "seed": 3, "top_k": 0, "top_p": 0.5},
    {"id": "a", "completion": "def f():", "checks": [{"kind": "no_stubs"}]},
    {
        "id": "a",
        "messages": [{"role": "system", "content": ""}, {"role": "user", "content": "b"}],
        "checks": [{"kind": "equals", "text": "x", "measure": "syntax"}],
    },
    {**TASK, "samples": 5, "temperature": 0.7, "max_new_tokens": 9, "repetition_penalty": 1.1},
    {**TASK, "checks": [{"kind": "json"}, {"kind": "json", "schema": {"type": "object"}}]},
    {**TASK, "checks": [{"kind": "contains", "texts": ["a"], "ignore_case": True}]},
    {**TASK, "checks": [{"kind": "regex", "pattern": "^a+$"}]},
    {**TASK, "checks": [{"kind": "python_tests", "code": "assert 1", "timeout_seconds": 1}]},
]
BAD: list[dict[str, Any]] = [
    {},
    {"id": "a", "prompt": "x"},
    {"prompt": "x", "checks": [{"kind": "python"}]},
    {**TASK, "completion": "x"},
    {**TASK, "checks": []},
    {**TASK, "id": ""},
    {**TASK, "unknown": 1},
    {**TASK, "tags": []},
    {**TASK, "tags": ["a", "a"]},
    {**TASK, "samples": 0},
    {**TASK, "temperature": -1},
    {**TASK, "seed": 1.0},
    {**TASK, "top_p": 0},
    {**TASK, "checks": [{"kind": "other"}]},
    {**TASK, "checks": [{"kind": "python", "code": "x"}]},
    {**TASK, "checks": [{"kind": "contains"}]},
    {**TASK, "checks": [{"kind": "contains", "texts": "a"}]},
    {**TASK, "checks": [{"kind": "python_tests", "code": "x", "timeout_seconds": 1000}]},
    {**TASK, "checks": [{"kind": "json", "schema": 3}]},
    {"id": "a", "messages": [], "checks": [{"kind": "python"}]},
    {"id": "a", "messages": [{"role": "robot", "content": ""}], "checks": [{"kind": "python"}]},
]
BEYOND_THE_SCHEMA: list[dict[str, Any]] = [
    {**TASK, "samples": 2},
    {**TASK, "checks": [{"kind": "regex", "pattern": "(?=a)"}]},
    {
        "id": "a",
        "messages": [{"role": "assistant", "content": "b"}],
        "checks": [{"kind": "python"}],
    },
]


@pytest.mark.parametrize("task", GOOD)
def test_what_the_schema_takes_is_read(task: dict[str, Any]) -> None:
    assert meets_schema({"tasks": [task]}, "eval-tasks")
    assert len(read(task)) == 1


@pytest.mark.parametrize("task", BAD)
def test_what_the_schema_refuses_is_refused_with_its_place(task: dict[str, Any]) -> None:
    # Checks may come from the defaults, which a schema cannot see.
    is_left_open = "checks" not in task and "id" in task
    assert meets_schema({"tasks": [task]}, "eval-tasks") == is_left_open
    with pytest.raises(DataError) as caught:
        read(TASK | {"id": "first"}, task)
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("MENS-V001", "t.yaml: tasks[1]")


@pytest.mark.parametrize("task", BEYOND_THE_SCHEMA)
def test_what_no_schema_can_say_is_refused_too(task: dict[str, Any]) -> None:
    assert meets_schema({"tasks": [task]}, "eval-tasks")
    with pytest.raises(DataError):
        read(task)


@pytest.mark.parametrize(
    "document",
    [{}, {"tasks": 1}, {"tasks": [TASK], "more": 1}, {"tasks": [TASK], "defaults": {"id": "x"}}, 3],
)
def test_a_document_that_is_none_is_refused(document: object) -> None:
    assert not meets_schema(document, "eval-tasks")
    with pytest.raises(DataError):
        read_tasks([TaskFile(Path("t.yaml"), document)])


def test_every_problem_is_reported_and_no_id_is_taken_twice() -> None:
    with pytest.raises(DataError) as caught:
        read(TASK, {**TASK, "samples": 0}, TASK)
    assert [each.code for each in caught.value.problems] == ["MENS-V001", "MENS-V002"]


def test_lines_and_documents_give_the_same_tasks(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text("\n".join(json.dumps(each | {"id": str(i)}) for i, each in enumerate(GOOD)))
    by_line = read_tasks([TaskFile(file)])
    by_document = read(*(each | {"id": str(i)} for i, each in enumerate(GOOD)))
    assert tasks_digest(by_line) == tasks_digest(reversed(by_document))
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError) as caught:
        read_tasks([TaskFile(tmp_path / "empty.jsonl")])
    assert caught.value.problems[0].code in ("MENS-V003", "MENS-D002")


def test_defaults_come_first_and_overrides_last() -> None:
    document = {"defaults": {"seed": 1, "max_new_tokens": 5}, "tasks": [TASK | {"seed": 2}]}
    (task,) = read_tasks([TaskFile(Path("t"), document)], {"max_new_tokens": 7})
    assert (task.sampling.seed, task.sampling.max_new_tokens) == (2, 7)


def test_the_digest_follows_what_is_asked_and_nothing_else() -> None:
    base = tasks_digest(read(TASK))
    for change in ({"prompt": "b"}, {"seed": 1}, {"checks": [{"kind": "json"}]}, {"tags": ["x"]}):
        assert tasks_digest(read(TASK | change)) != base
    (moved,) = read_tasks([TaskFile(Path("elsewhere.json"), {"tasks": [TASK]})])
    assert tasks_digest([moved]) == base
    assert moved.seed_of(0) != moved.seed_of(1)
