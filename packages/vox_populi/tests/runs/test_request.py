"""What was asked for survives a file, and every difference is named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vox_populi.errors import ArtifactError
from vox_populi.files.json_fields import FieldError
from vox_populi.runs.request import RunRequest, read_run_request

REQUEST = RunRequest(
    digest="sha256:aa",
    contract={"seed": 1, "learning_rate": 1e-3, "targets": ("q", "v"), "lora": {"rank": 4}},
    inputs={"base": "sha256:bb", "data": "sha256:cc"},
    program={"torch": "2.0"},
)


def test_a_request_read_back_has_no_difference(tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text(json.dumps(REQUEST.as_json()), encoding="utf-8")
    assert read_run_request(path).changes_to(REQUEST) == ()
    assert REQUEST.changes_to(read_run_request(path)) == ()


def test_every_field_that_differs_is_one_problem_with_both_values() -> None:
    other = replace(
        REQUEST,
        digest="sha256:dd",
        contract={**REQUEST.contract, "seed": 2, "lora": {"rank": 8}},
        inputs={"base": "sha256:bb", "init_from": "sha256:ee"},
    )
    problems = REQUEST.changes_to(other)
    assert [problem.where for problem in problems] == [
        "--rank",
        "--seed",
        "--data or --data-dir (training rows)",
        "--init-from",
    ]
    assert "4" in problems[0].what
    assert "8" in problems[0].what


@pytest.mark.parametrize(("before", "now"), [("lion", None), (None, "lion"), ("adamw", None)])
def test_another_optimizer_is_one_problem_that_names_the_flag_and_both(
    before: str | None, now: str | None
) -> None:
    """A record without an optimizer is one for AdamW."""

    def asked_for(name: str | None) -> RunRequest:
        return (
            REQUEST
            if name is None
            else replace(
                REQUEST, digest=f"sha256:{name}", contract={**REQUEST.contract, "optimizer": name}
            )
        )

    problems = asked_for(before).changes_to(asked_for(now))
    if before == "adamw":
        assert [problem.where for problem in problems] == ["contract_digest"]
        return
    (problem,) = problems
    assert problem.code == "MENS-R100"
    assert f"--optimizer {before or 'adamw'}" in problem.what
    assert now or "adamw" in problem.what
    assert f"Pass --optimizer {before or 'adamw'}" in problem.fix


def test_a_difference_is_told_as_it_is_asked_for() -> None:
    four_bit = {**REQUEST.contract, "backend": "qlora", "targets": "q,v"}
    one = replace(REQUEST, contract={**four_bit, "qlora": {"double_quant": True}})
    other = {**four_bit, "targets": "q", "qlora": {"double_quant": False}}
    problems = one.changes_to(replace(one, contract=other))
    assert [(each.where, each.what) for each in problems] == [
        ("--qlora-no-double-quant", "the run was started with False, now it is True."),
        ("--targets", "the run was started with q,v, now it is q."),
    ]


def test_a_different_backend_is_one_problem() -> None:
    one = replace(REQUEST, contract={**REQUEST.contract, "backend": "lora"})
    changed = {**REQUEST.contract, "backend": "qlora", "qlora": {"block_size": 64}}
    (problem,) = one.changes_to(replace(one, contract=changed))
    assert problem.where == "--backend"


def test_a_digest_that_differs_alone_is_a_difference() -> None:
    (problem,) = REQUEST.changes_to(replace(REQUEST, digest="sha256:dd"))
    assert problem.where == "contract_digest"


@pytest.mark.parametrize("content", ["{", "{}", '{"schema_version": 99}', "[]"])
def test_a_file_that_is_not_a_request_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "request.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError):
        read_run_request(path)


def test_values_of_another_kind_are_refused() -> None:
    with pytest.raises(FieldError, match="base"):
        RunRequest.from_json({**REQUEST.as_json(), "inputs": {"base": 1}})
