"""What a model's answers to tasks came to, and the rates of a group of tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from vox_populi.evals.checks import Judged
from vox_populi.evals.eval_task import EvalTask, Measure
from vox_populi.evals.rates import Rate, mean_difference, pass_at_k, rate_of
from vox_populi.files.json_numbers import JsonObject

_SHOWN_K = (1, 2, 5, 10, 20, 50, 100)
BLANK, CUT = "blank_share", "cut_share"


@dataclass(frozen=True, slots=True)
class SampleResult:
    """One answer and its judgement."""

    seed: int
    text: str
    tokens: int
    stop_reason: str
    """`stop_token`, `length`, `context`, or `no_room` for a prompt that leaves none."""
    judged: Judged

    def as_json(self) -> JsonObject:
        """One entry of a task's `samples`."""
        measures = {each.value: self.judged.meets(each) for each in Measure}
        return {
            "seed": self.seed,
            "passed": self.judged.passed,
            **{name: met for name, met in measures.items() if met is not None},
            "reasons": list(self.judged.reasons),
            "tokens": self.tokens,
            "stop_reason": self.stop_reason,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True)
class TaskResult:
    """All answers to one task."""

    task: EvalTask
    samples: tuple[SampleResult, ...]

    @property
    def passed(self) -> int:
        """Number of answers that meet every check."""
        return sum(sample.judged.passed for sample in self.samples)

    def values(self) -> dict[str, float]:
        """This task's contribution to each metric."""
        count = len(self.samples)
        found = {
            f"pass_at_{k}": pass_at_k(count, self.passed, k)
            for k in {*_SHOWN_K, count}
            if k <= count
        }
        for measure in Measure:
            met = [sample.judged.meets(measure) for sample in self.samples]
            if met[0] is not None:
                found[f"{measure.value}_at_1"] = fmean(map(bool, met))
        found[BLANK] = fmean(not sample.text.strip() for sample in self.samples)
        found[CUT] = fmean(sample.stop_reason in ("length", "context") for sample in self.samples)
        return found

    def as_json(self) -> JsonObject:
        """One entry of `tasks`."""
        return {
            "id": self.task.task_id,
            "source": self.task.source,
            "tags": list(self.task.tags),
            "passed": self.passed,
            "samples": [sample.as_json() for sample in self.samples],
        }


Metrics = Mapping[str, Rate]


def metrics_of(results: Sequence[TaskResult]) -> dict[str, Rate]:
    """The rates of some tasks, in a fixed order.

    `pass_at_k` is there only if every task has at least k samples; a measure counts the tasks that
    have a check for it.
    """
    values = [result.values() for result in results]
    names = sorted({name for each in values for name in each}, key=_order)
    rates: dict[str, Rate] = {}
    for name in names:
        held = [each[name] for each in values if name in each]
        if len(held) == len(values) or not name.startswith("pass_at_"):
            rates[name] = rate_of(held)
    return rates


def differences_of(before: Sequence[TaskResult], after: Sequence[TaskResult]) -> dict[str, Rate]:
    """Mean change of each metric, task by task, with an interval."""
    pairs = [(old.values(), new.values()) for old, new in zip(before, after, strict=True)]
    names = sorted({name for _, new in pairs for name in new}, key=_order)
    changes: dict[str, Rate] = {}
    for name in names:
        held = [new[name] - old[name] for old, new in pairs if name in new]
        if len(held) == len(pairs) or not name.startswith("pass_at_"):
            changes[name] = mean_difference(held)
    return changes


def groups_of(results: Iterable[TaskResult], *, by_tag: bool) -> dict[str, list[TaskResult]]:
    """Results by source or, each under all of its tags, by tag; in the order of the names."""
    groups: dict[str, list[TaskResult]] = {}
    for result in results:
        for name in result.task.tags if by_tag else (result.task.source,):
            groups.setdefault(name, []).append(result)
    return dict(sorted(groups.items()))


def _order(name: str) -> tuple[int, int, str]:
    if name.startswith("pass_at_"):
        return 0, int(name.removeprefix("pass_at_")), name
    return 1, 0, name
