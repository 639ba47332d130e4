"""The pages of scorecards: a cycle with both backends, and a decision over cycles."""

from __future__ import annotations

from collections.abc import Iterator

from vox_populi.evals.rates import Rate
from vox_populi.evals.scorecard_cycle import BACKENDS, Cycle
from vox_populi.evals.scorecard_decision import Decision, Verdict, condition_kpis
from vox_populi.evals.scorecard_kpis import REQUIRED_KPIS, Kpi, ScorecardEvent
from vox_populi.pages.markup import Markup, element
from vox_populi.pages.page_frame import percent, sections, table, whole_page

_MOST_SHOWN = 2000
_MOST_TASKS = 300
_CLASS_OF_VERDICT = {
    Verdict.PROMOTE: "ok",
    Verdict.HOLD: "missed",
    Verdict.INSUFFICIENT: "missed",
}


def cycle_page(cycle: Cycle) -> Markup:
    """A cycle: KPIs of both backends, then every task with its attempts."""
    about = [
        ("suite", cycle.suite.name),
        ("attempts", str(cycle.suite.max_attempts)),
        ("digest of suite", cycle.suite_digest),
        *(
            (f"{backend.value} run", f"{each.facts.run}, lane {each.facts.lane}")
            for backend, each in cycle.conditions.items()
        ),
    ]
    return whole_page(
        f"Scorecard cycle: {cycle.suite.name}",
        table(("measured", "value"), about, class_="words"),
        sections(("KPIs", kpi_table(cycle)), ("Tasks", list(_tasks(cycle)))),
    )


def decision_page(decision: Decision) -> Markup:
    """A decision: the verdict, its reasons, and the numbers behind it."""
    verdict = decision.verdict
    head = element("p", "Verdict: ", element("span", verdict, class_=_CLASS_OF_VERDICT[verdict]))
    reasons = element("ul", (element("li", reason) for reason in decision.reasons))
    cycles = [(cycle.where, kpi_table(cycle)) for cycle in decision.cycles]
    return whole_page(
        f"Scorecard decision: {verdict}",
        head,
        sections(
            ("Reasons", reasons),
            ("Gain of lora over qlora", _gain_table(decision)),
            *cycles,
        ),
    )


def kpi_table(cycle: Cycle) -> Markup:
    """The KPIs of a cycle, each backend with its interval."""
    columns = ["KPI"]
    for backend in BACKENDS:
        columns += [backend.value, "95 % interval"]
    rows = []
    for kpi in REQUIRED_KPIS:
        row = [kpi.value]
        for backend in BACKENDS:
            rate = condition_kpis(cycle, backend).get(kpi)
            row += [kpi_text(kpi, rate), kpi_interval(kpi, rate)]
        rows.append(row)
    return table(columns, rows)


def kpi_text(kpi: Kpi, rate: Rate | None) -> str:
    """A KPI for people."""
    if rate is None:
        return "-"
    return percent(rate.value) if kpi.is_share else f"{rate.value:.2f}"


def kpi_interval(kpi: Kpi, rate: Rate | None) -> str:
    """The interval of a KPI for people."""
    if rate is None:
        return "-"
    if kpi.is_share:
        return f"{percent(rate.low)} to {percent(rate.high)}"
    return f"{rate.low:.2f} to {rate.high:.2f}"


def _gain_table(decision: Decision) -> Markup | None:
    if not decision.pooled:
        return None
    names = [f"cycle {number}" for number in range(1, len(decision.cycles) + 1)]
    rows = [
        (
            kpi.value,
            *(f"{100 * gain:+.1f}" for gain in decision.gains[kpi]),
            f"{100 * decision.pooled[kpi].value:+.1f}",
            f"{100 * decision.pooled[kpi].low:+.1f} to {100 * decision.pooled[kpi].high:+.1f}",
        )
        for kpi in REQUIRED_KPIS
    ]
    return table(("points; above 0 is better", *names, "together", "95 % interval"), rows)


def _tasks(cycle: Cycle) -> Iterator[Markup]:
    events = [each.events for each in cycle.conditions.values()]
    names = [backend.value for backend in cycle.conditions]
    for pair in list(zip(*events, strict=True))[:_MOST_TASKS]:
        head = element("header", element("h3", pair[0].task_id))
        tried = [_attempts(name, event) for name, event in zip(names, pair, strict=True)]
        yield element("article", head, tried, class_="row")


def _attempts(name: str, event: ScorecardEvent) -> Markup:
    ended = "stalled" if event.stalled else "not valid"
    words = f"valid at attempt {event.valid_at}" if event.valid_at else ended
    class_ = "ok" if event.valid_at else "missed"
    summary = element("summary", f"{name}: ", element("span", words, class_=class_))
    tries = [
        (
            element("p", f"{number}. {'; '.join(reasons) or 'meets every check'}", class_="faint"),
            element("pre", text[:_MOST_SHOWN] or "(blank)"),
        )
        for number, (text, reasons) in enumerate(zip(event.answers, event.reasons, strict=True), 1)
    ]
    return element("details", summary, tries)
