"""The page of an evaluation: rates with intervals, by source and tag, then every answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from vox_populi.evals.eval_report import MeasuredTasks, rates_beside
from vox_populi.evals.rates import Rate
from vox_populi.evals.task_results import TaskResult, differences_of, groups_of
from vox_populi.pages.markup import Markup, element
from vox_populi.pages.page_frame import choice, filter_style, percent, sections, table, whole_page

_MOST_SHOWN = 2000
"""Characters of an answer; the report has all of it."""
_MOST_TASKS = 500
_OUTCOMES = (("failed", "failed"), ("passed", "passed"), ("changed", "changed by the adapter"))


def eval_page(
    document: Mapping[str, object], base: MeasuredTasks | None, measured: MeasuredTasks
) -> Markup:
    """The page as HTML."""
    title = f"Evaluation: {document['adapter'] or document['model']}"
    about = [
        ("model", str(document["model"])),
        ("adapter", str(document["adapter"] or "none")),
        ("tasks", f"{len(measured.results):,}"),
        *_digests(document),
    ]
    before = None if base is None else base.results
    return whole_page(
        title,
        table(("evaluated", "value"), about, class_="words"),
        sections(
            ("Rates", rate_table(before, measured.results)),
            ("By source", _group_table("source", before, measured.results, by_tag=False)),
            ("By tag", _group_table("tag", before, measured.results, by_tag=True)),
            ("Answers", _answers(before, measured.results)),
        ),
        more_style=filter_style("outcome", "outcome", (value for value, _ in _OUTCOMES)),
    )


def rate_table(base: Sequence[TaskResult] | None, results: Sequence[TaskResult]) -> Markup:
    """Every rate with its 95 % interval; of base and change too, if there are."""
    changes = {} if base is None else differences_of(base, results)
    columns = ["rate", *(["base"] if base is not None else []), "model", "95 % interval"]
    columns += ["change", "95 % of the change"] if base is not None else []
    rows = []
    for name, before, rate in rates_beside(base, results):
        row = [name, *([_share(before)] if base is not None else [])]
        row += [_share(rate), interval_text(rate)]
        if base is not None:
            change = changes.get(name)
            row += [signed_points(change), interval_text(change, signed=True)]
        rows.append((*row, f"{rate.tasks:,}"))
    return table((*columns, "tasks"), rows)


def interval_text(rate: Rate | None, *, signed: bool = False) -> str:
    """The ends of an interval."""
    if rate is None:
        return "-"
    if signed:
        return f"{100 * rate.low:+.1f} to {100 * rate.high:+.1f}"
    return f"{percent(rate.low)} to {percent(rate.high)}"


def signed_points(change: Rate | None) -> str:
    """A difference of two shares, in points of a hundred."""
    return "-" if change is None else f"{100 * change.value:+.1f}"


def _share(rate: Rate | None) -> str:
    return "-" if rate is None else percent(rate.value)


def _digests(document: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    digests = document["digests"]
    assert isinstance(digests, Mapping), "made by eval_report"
    for name, digest in digests.items():
        if digest is not None:
            yield f"digest of {name}", str(digest)


def _group_table(
    name: str,
    base: Sequence[TaskResult] | None,
    results: Sequence[TaskResult],
    *,
    by_tag: bool,
) -> Markup | None:
    groups = groups_of(results, by_tag=by_tag)
    if len(groups) < (1 if by_tag else 2):
        return None
    before = {} if base is None else groups_of(base, by_tag=by_tag)
    rows = []
    for group, members in groups.items():
        rates = {
            metric: (old, new) for metric, old, new in rates_beside(before.get(group), members)
        }
        old, new = rates["pass_at_1"]
        shown = [_share(old)] if base is not None else []
        rows.append((group, *shown, _share(new), interval_text(new), f"{new.tasks:,}"))
    columns = (name, *(["base"] if base is not None else []), "pass_at_1", "95 % interval", "tasks")
    return table(columns, rows)


def _answers(base: Sequence[TaskResult] | None, results: Sequence[TaskResult]) -> Markup:
    before: Sequence[TaskResult | None] = base or [None] * len(results)
    shown = list(zip(before, results, strict=True))[:_MOST_TASKS]
    rest = len(results) - len(shown)
    more = element("p", f"{rest:,} more tasks are in the report.") if rest else None
    chooser = choice("outcome", "Show", (("all", "all tasks"), *_OUTCOMES))
    cards = [_card(old, new) for old, new in shown]
    return element("div", element("div", chooser, class_="controls"), cards, more)


def _card(base: TaskResult | None, result: TaskResult) -> Markup:
    count = len(result.samples)
    is_passed = result.passed == count
    outcomes = ["passed" if is_passed else "failed"]
    if base is not None and base.passed != result.passed:
        outcomes.append("changed")
    words = f"{result.passed} of {count} passed"
    if base is not None:
        words += f", base {base.passed} of {count}"
    head = element(
        "header",
        element("h3", result.task.task_id),
        element("span", words, class_="ok" if is_passed else "missed"),
        (element("span", tag, class_="tag known") for tag in result.task.tags),
    )
    answers = [*_texts(result, "answer"), *([] if base is None else _texts(base, "base"))]
    asked = element(
        "details", element("summary", "asked"), element("pre", _cut(result.task.prompt))
    )
    return element("article", head, asked, answers, class_="row", data_outcome=" ".join(outcomes))


def _texts(result: TaskResult, name: str) -> Iterator[Markup]:
    for number, sample in enumerate(result.samples, 1):
        which = f" {number}" if len(result.samples) > 1 else ""
        reasons = "; ".join(sample.judged.reasons) or "passed"
        summary = element("summary", f"{name}{which}: {reasons}")
        yield element("details", summary, element("pre", _cut(sample.text) or "(blank)"))


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]} …"
