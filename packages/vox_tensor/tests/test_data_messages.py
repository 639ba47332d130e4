from __future__ import annotations

import inspect
import re

from vox_tensor import data_messages
from vox_tensor.errors import Problem
from vox_tensor.file_form import FileForm


def every_problem() -> list[Problem]:
    """Each message of the file; a function is called with a value of each parameter's type."""
    sample: dict[str, object] = {"int": 3, "str": "x.jsonl:1", "FileForm": FileForm.GZIP}
    functions = [
        function
        for _, function in inspect.getmembers(data_messages, inspect.isfunction)
        if function.__module__ == data_messages.__name__
        and inspect.signature(function).return_annotation == "Problem"
    ]
    constants = [value for value in vars(data_messages).values() if isinstance(value, Problem)]
    called = [
        function(
            *(sample[kind.annotation] for kind in inspect.signature(function).parameters.values())
        )
        for function in functions
    ]
    return [*constants, *called]


def test_codes_are_unique_and_in_the_range_of_this_file() -> None:
    codes = [problem.code for problem in every_problem()]
    assert len(codes) == len(set(codes)) >= 14
    assert all(re.fullmatch(r"MENS-D(0[0-2]\d|130)", code) for code in codes)


def test_every_problem_has_a_cause_and_a_fix_in_sentences_and_takes_a_place() -> None:
    for problem in every_problem():
        assert problem.where in (None, "x.jsonl:1")
        assert str(problem.at("y.jsonl:2")).startswith(f"[{problem.code}] y.jsonl:2: ")
        assert problem.what.endswith(".")
        # A command stands last so that it can be copied.
        assert problem.fix.endswith((".", "> rows.jsonl"))
