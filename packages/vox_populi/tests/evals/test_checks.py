"""Each kind of check, with an answer that passes and answers that do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vox_populi.errors import ConfigError
from vox_populi.evals.checks import judge, require_checks
from vox_populi.evals.eval_task import EvalTask, Measure
from vox_populi.evals.task_files import TaskFile, read_tasks


def task_of(*checks: dict[str, Any], **more: Any) -> EvalTask:
    asked = {"id": "a", "checks": list(checks), **({"prompt": "x"} if not more else {}), **more}
    (task,) = read_tasks([TaskFile(Path("t"), {"tasks": [asked]})])
    return task


CASES: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"kind": "contains", "texts": ["a", "B"]}, "B a", ["a", "b a", " "]),
    ({"kind": "contains", "texts": ["A"], "ignore_case": True}, "a", ["b"]),
    ({"kind": "excludes", "texts": ["x"]}, "y", ["xy", "", "  \n"]),
    ({"kind": "regex", "pattern": "^a+$"}, "b\naaa\n", ["ab", "b a"]),
    ({"kind": "equals", "text": "yes"}, " yes\n", ["Yes", "yes."]),
    ({"kind": "json"}, '```json\n{"a": 1}\n```', ["{'a': 1}", '{"a": 1, "a": 2}', "NaN"]),
    ({"kind": "python"}, "Here:\n```python\nx = 1\n```", ["x = = 1", "```\nx =\n```"]),
    ({"kind": "python"}, "    x = 1\n    y = 2", ["def f(:"]),
    (
        {"kind": "no_stubs"},
        "def stubborn():\n    return 1",
        [
            "def f():\n    pass",
            "def f():\n    '''Says.'''\n    ...",
            "x = 1  # TODO",
            "raise NotImplementedError",
            "not implemented",
        ],
    ),
]


@pytest.mark.parametrize(("check", "good", "bad"), CASES)
def test_each_kind_passes_and_fails(check: dict[str, Any], good: str, bad: list[str]) -> None:
    task = task_of(check)
    assert judge(task, good).passed
    for answer in bad:
        judged = judge(task, answer)
        assert not judged.passed
        assert judged.reasons[0]


def test_a_pattern_that_would_backtrack_forever_does_not() -> None:
    assert not judge(task_of({"kind": "regex", "pattern": "(a+)+$"}), "a" * 5000 + "b").passed


def test_json_meets_its_schema_and_no_schema_fetches() -> None:
    schema = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}
    task = task_of({"kind": "json", "schema": schema})
    require_checks([task])
    assert judge(task, '{"name": "x"}').passed
    assert "name" in judge(task, '{"name": 3}').reasons[0]
    assert not judge(task, "{}").passed
    for broken in ({"type": "nothing"}, {"$ref": "https://example.org/schema.json"}):
        with pytest.raises(ConfigError) as caught:
            require_checks([task_of({"kind": "json", "schema": broken})])
        assert caught.value.problems[0].code == "MENS-V001"
    inside = {"$defs": {"n": {"type": "integer"}}, "$ref": "#/$defs/n"}
    require_checks([task_of({"kind": "json", "schema": inside})])
    assert not judge(task_of({"kind": "json", "schema": inside}), '"x"').passed


def test_measures_are_counted_apart() -> None:
    task = task_of({"kind": "python"}, {"kind": "contains", "texts": ["return"]})
    judged = judge(task, "x = 1")
    met = {measure: judged.meets(measure) for measure in Measure}
    assert met == {Measure.SYNTAX: True, Measure.SEMANTIC: False, Measure.STUB_FREE: None}
    assert judge(task, "").meets(Measure.SYNTAX) is False


def test_code_of_a_continued_text_starts_with_it() -> None:
    task = task_of({"kind": "python"}, completion="def f():\n")
    assert judge(task, "    return 1").passed
    assert not judge(task, "return 1").passed
