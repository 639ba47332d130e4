"""Promotion takes whole, equal, unedited evidence; everything else has a reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from packages.vox_populi.tests.pages.parsed_page import ParsedPage
from packages.vox_populi.tests.schemas import meets_schema
from vox_populi.contract.choices import Backend
from vox_populi.errors import ArtifactError, ConfigError
from vox_populi.evals.eval_task import EvalTask
from vox_populi.evals.repair import repaired
from vox_populi.evals.scorecard_cycle import CYCLE_FILE, Condition, Cycle, RunFacts, read_cycle
from vox_populi.evals.scorecard_decision import Verdict, decide
from vox_populi.evals.scorecard_kpis import Kpi, ScorecardEvent, gains_of, kpis_of
from vox_populi.evals.scorecard_suite import ScorecardSuite, parse_suite
from vox_populi.evals.task_files import TaskFile, read_tasks
from vox_populi.files.whole_file import pretty_json
from vox_populi.pages.scorecard_page import cycle_page
from vox_populi.pipeline.scorecard import decide_cycles, verify
from vox_tensor.records import Message

MakeCycle = Callable[..., Path]
SUITE = ScorecardSuite(name="s", task_files=(), max_attempts=3, margin=0.1)
TASKS = 40


def event(number: int, valid_at: int | None = 1, **more: Any) -> ScorecardEvent:
    tries = valid_at or 3
    met = (valid_at == 1, valid_at is not None)
    given: dict[str, Any] = {
        "task_id": f"t{number}",
        "attempts": tries,
        "valid_at": valid_at,
        "stalled": False,
        "syntax": met,
        "semantic": met,
        "tokens": 5,
        "reasons": (("wrong",),) * (tries - bool(valid_at)) + ((),) * bool(valid_at),
        "answers": ("a",) * tries,
    }
    return ScorecardEvent(**{**given, **more})


def events(failed: int = 0, **more: Any) -> tuple[ScorecardEvent, ...]:
    return tuple(event(n, None if n < failed else 1, **more) for n in range(TASKS))


@pytest.fixture
def make_cycle(tmp_path: Path) -> MakeCycle:
    def make(
        name: str,
        lora: Sequence[ScorecardEvent] | None = None,
        qlora: Sequence[ScorecardEvent] | None = None,
        suite: ScorecardSuite = SUITE,
        **more: Any,
    ) -> Path:
        given = {Backend.LORA: lora or events(), Backend.QLORA: qlora or events()}
        only = more.pop("only", given)
        facts = {"base": "b", "train": "t", "lane": "research", "seed": 1, **more.pop("facts", {})}
        conditions = {
            backend: Condition(
                facts=RunFacts(run="r", backend=backend, adapter=f"{name}{backend}", **facts),
                events=tuple(given[backend]),
            )
            for backend in only
        }
        cycle = Cycle(
            suite=suite,
            tasks=more.pop("tasks", "sha256:1"),
            settings=more.pop("settings", {"device": "cpu"}),
            conditions=conditions,
        )
        folder = tmp_path / name
        folder.mkdir()
        assert meets_schema(cycle.document(), "scorecard-cycle")
        (folder / CYCLE_FILE).write_bytes(pretty_json(cycle.document()))
        return folder

    return make


def verdict_of(*paths: Path) -> tuple[Verdict, str]:
    report = decide_cycles(paths, None)
    assert report.ok == (report.decision.verdict is Verdict.PROMOTE)
    assert bool(report.problems) != report.ok
    return report.decision.verdict, "; ".join(report.decision.reasons)


def test_two_equal_cycles_promote_and_are_written_down(
    make_cycle: MakeCycle, tmp_path: Path
) -> None:
    paths = make_cycle("a"), make_cycle("b")
    report = decide_cycles(paths, tmp_path / "decision")
    assert report.ok
    decision = json.loads((tmp_path / "decision" / "decision.json").read_text())
    assert decision["verdict"] == "promote"
    assert len(decision["cycles"]) == 2
    assert set(decision["pooled_gains"]) == {kpi.value for kpi in Kpi}
    ParsedPage((tmp_path / "decision" / "decision.html").read_text())
    ParsedPage(cycle_page(read_cycle(paths[0])))
    again = decide_cycles(paths, tmp_path / "again")
    assert again.document == report.document


def test_what_lacks_evidence_never_promotes(make_cycle: MakeCycle) -> None:
    a = make_cycle("a")
    one_try = replace(SUITE, max_attempts=1)
    lacking = {
        "usable cycles": [a],
        "one cycle twice": [a, a],
        "different suites": [a, make_cycle("b", suite=replace(SUITE, seed=1))],
        "tasks": [a, make_cycle("c", tasks="sha256:2")],
        "different settings": [a, make_cycle("d", settings={"device": "cuda"})],
        "different bases": [a, make_cycle("e", facts={"base": "other"})],
        "no qlora run": [a, make_cycle("f", only=[Backend.LORA])],
        "has no syntax_at_1": [a, make_cycle("g", lora=events(syntax=None))],
        "has no semantic_at_1": [a, make_cycle("h", qlora=events(semantic=None))],
        "tries_until_valid": [make_cycle("i", suite=one_try), make_cycle("j", suite=one_try)],
        "asks for 3": [make_cycle(n, suite=replace(SUITE, cycles=3)) for n in ("k", "l")],
        "different tasks": [a, make_cycle("m", lora=events()[1:])],
    }
    for words, paths in lacking.items():
        verdict, reasons = verdict_of(*paths)
        assert verdict is Verdict.INSUFFICIENT, words
        assert words in reasons
    assert decide([]).verdict is Verdict.INSUFFICIENT


def test_an_edited_cycle_never_promotes(make_cycle: MakeCycle) -> None:
    a, b = make_cycle("a"), make_cycle("b", lora=events(failed=30))
    assert verdict_of(a, b)[0] is Verdict.HOLD
    file = b / CYCLE_FILE
    raw = json.loads(file.read_text())
    raw["conditions"][0]["kpis"]["pass_at_1"]["value"] = 1.0
    file.write_text(json.dumps(raw))
    verdict, reasons = verdict_of(a, b)
    assert verdict is Verdict.INSUFFICIENT
    assert "was changed" in reasons
    with pytest.raises(ArtifactError) as caught:
        verify(None, (a, b))
    assert caught.value.problems[0].code == "MENS-V032"
    file.write_text("{}")
    assert verdict_of(a, b)[0] is Verdict.INSUFFICIENT


def test_a_digest_made_to_fit_does_not_help(make_cycle: MakeCycle) -> None:
    cycle = read_cycle(make_cycle("a", lora=events(failed=30)))
    raw = cycle.document()
    raw["conditions"][0]["kpis"]["pass_at_1"]["value"] = 1.0  # type: ignore[index]
    forged = make_cycle("b")
    del raw["manifest_sha256"]
    text = json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (forged / CYCLE_FILE).write_text(json.dumps({**raw, "manifest_sha256": digest}))
    with pytest.raises(ArtifactError) as caught:
        read_cycle(forged)
    assert caught.value.problems[0].code == "MENS-V032"


def test_worse_is_held_with_the_kpi(make_cycle: MakeCycle) -> None:
    a = make_cycle("a")
    verdict, reasons = verdict_of(a, make_cycle("b", lora=events(failed=8)))
    assert verdict is Verdict.HOLD
    assert "syntax_at_1 is worse by 0.2 in a cycle" in reasons
    # Within the margin in each cycle, but not certain: the interval decides.
    few = make_cycle("c", lora=events(failed=3)), make_cycle("d", lora=events(failed=3))
    verdict, reasons = verdict_of(*few)
    assert verdict is Verdict.HOLD
    assert "95 % interval" in reasons
    assert verdict_of(a, make_cycle("e", qlora=events(failed=8)))[0] is Verdict.PROMOTE
    floor = replace(SUITE, floors={"pass_at_1": 0.9})
    low = events(failed=8)
    pair = [make_cycle(n, lora=low, qlora=low, suite=floor) for n in ("f", "g")]
    verdict, reasons = verdict_of(*pair)
    assert verdict is Verdict.HOLD
    assert "below its floor" in reasons


def test_a_handful_of_tasks_never_promotes(make_cycle: MakeCycle) -> None:
    few = events()[:5]
    verdict, reasons = verdict_of(*(make_cycle(n, lora=few, qlora=few) for n in ("a", "b")))
    assert verdict is Verdict.HOLD
    assert "measure more tasks" in reasons


def test_kpis_are_the_means_of_their_events() -> None:
    tried = [event(0, 1), event(1, 2), event(2, 3), event(3, None, stalled=True, attempts=2)]
    kpis = {kpi: rate.value for kpi, rate in kpis_of(tried, 3).items()}
    assert kpis == {
        Kpi.SYNTAX_AT_1: 0.25,
        Kpi.SYNTAX_AT_N: 0.75,
        Kpi.SEMANTIC_AT_1: 0.25,
        Kpi.SEMANTIC_AT_N: 0.75,
        Kpi.PASS_AT_1: 0.25,
        Kpi.PASS_AT_N: 0.75,
        Kpi.TRIES_UNTIL_VALID: (1 + 2 + 3 + 4) / 4,
        Kpi.STALL_RATE: 0.25,
    }
    gains = gains_of(tried, [event(n, 1) for n in range(4)], 3)
    assert gains[Kpi.TRIES_UNTIL_VALID] == [0, -1 / 3, -2 / 3, -1]
    assert gains[Kpi.STALL_RATE] == [0, 0, 0, -1]
    with pytest.raises(ValueError, match="same tasks"):
        gains_of(tried, tried[1:], 3)


class Told:
    """Answers in order, and what was asked for each."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[int, tuple[Message, ...], str]] = []

    def attempt(
        self, task: EvalTask, seed: int, further: Sequence[Message], remark: str
    ) -> tuple[str, int]:
        self.asked.append((seed, tuple(further), remark))
        return self.answers[len(self.asked) - 1], 2


def test_repair_feeds_the_error_back_until_it_is_valid() -> None:
    checks = [{"kind": "json"}, {"kind": "contains", "texts": ["a"]}]
    document = {"tasks": [{"id": "x", "prompt": "p", "checks": checks}]}
    (task,) = read_tasks([TaskFile(Path("t"), document)])
    told = Told("{", '{"a": 1}')
    found = repaired(task, told, 3)
    assert (found.attempts, found.valid_at, found.stalled) == (2, 2, False)
    assert (found.syntax, found.semantic, found.tokens) == ((False, True), (False, True), 4)
    (_, first, _), (_, second, remark) = told.asked
    assert first == ()
    assert second[0].content == "{"
    assert "not JSON" in second[1].content
    assert "not JSON" in remark
    assert len({seed for seed, _, _ in told.asked}) == 2
    stalled = repaired(task, Told("b", " b\n", "never"), 3)
    assert (stalled.attempts, stalled.valid_at, stalled.stalled) == (2, None, True)
    used_up = repaired(task, Told("b", "c", "d"), 3)
    assert (used_up.attempts, used_up.valid_at, used_up.stalled) == (3, None, False)


SUITES: list[tuple[object, bool]] = [
    ({"name": "s", "tasks": ["t.yaml"]}, True),
    (
        {
            "name": "s",
            "tasks": ["a", "b"],
            "max_attempts": 9,
            "seed": 2**63 - 1,
            "cycles": 3,
            "margin": 0,
            "floors": {"pass_at_n": 1},
        },
        True,
    ),
    ({"name": "s"}, False),
    ({"name": "s", "tasks": []}, False),
    ({"name": "s", "tasks": ["a", "a"]}, False),
    ({"name": "", "tasks": ["a"]}, False),
    ({"name": "s", "tasks": ["a"], "cycles": 1}, False),
    ({"name": "s", "tasks": ["a"], "max_attempts": 0}, False),
    ({"name": "s", "tasks": ["a"], "margin": 2}, False),
    ({"name": "s", "tasks": ["a"], "floors": {"stall_rate": 0.1}}, False),
    ({"name": "s", "tasks": ["a"], "more": 1}, False),
    ([], False),
]


@pytest.mark.parametrize(("suite", "is_good"), SUITES)
def test_the_reader_of_suites_and_their_schema_agree(suite: object, is_good: bool) -> None:
    assert meets_schema(suite, "scorecard-suite") == is_good
    if is_good:
        assert parse_suite(suite, "s").task_files
    else:
        with pytest.raises(ConfigError) as caught:
            parse_suite(suite, "s")
        assert caught.value.problems[0].code == "MENS-V030"


def test_the_schema_of_a_cycle_refuses_what_the_reader_refuses(make_cycle: MakeCycle) -> None:
    file = make_cycle("a") / CYCLE_FILE
    whole = json.loads(file.read_text())
    assert meets_schema(whole, "scorecard-cycle")
    condition = whole["conditions"][0]
    event_of = condition["events"][0]
    for broken in (
        {**whole, "more": 1},
        {name: value for name, value in whole.items() if name != "tasks"},
        {**whole, "schema": "vox_mens_scorecard_cycle_v2"},
        {**whole, "conditions": [{**condition, "backend": "other"}]},
        {**whole, "conditions": [{**condition, "events": [{**event_of, "attempts": 0}]}]},
        {**whole, "conditions": [{**condition, "events": [{**event_of, "syntax": [True]}]}]},
    ):
        file.write_bytes(pretty_json(broken))
        assert not meets_schema(broken, "scorecard-cycle")
        with pytest.raises(ArtifactError):
            read_cycle(file)
