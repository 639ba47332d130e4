"""The page of `vox mens report`: curves of runs over each other, results, settings, digests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from vox_populi.pages.chart_script import CHART_SCRIPT
from vox_populi.pages.chart_style import CHART_STYLE
from vox_populi.pages.line_chart import COLOURS, Chart, Curve, Spot, line_chart
from vox_populi.pages.markup import Child, Markup, element
from vox_populi.pages.page_frame import choice, percent, sections, table, whole_page
from vox_populi.runs.run_comparison import Comparison, Difference
from vox_populi.runs.run_curves import CURVES, CurveKind, RunCurves
from vox_populi.runs.run_record import RunRecord
from vox_populi.runs.samples import Sample
from vox_populi.runs.thinned_series import ThinnedSeries

_ROW_CHART = ("longest_row", "mean_row")
"""Two curves of one chart."""
_EXACT = ("heldout_loss", "learning_rate", "peak_memory")
_KIND_WORDS = {"longest_row": "longest", "mean_row": "mean", "heldout_loss": "held-out"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPage:
    """What the page shows; the sequences have an entry for each run."""

    found: Comparison
    names: tuple[str, ...]
    """Names of the runs, different from each other."""
    curves: tuple[RunCurves, ...]
    samples: tuple[tuple[Sample, ...], ...]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the losses must know."""
        return self.found.notes


def run_page(page: RunPage) -> Markup:
    """The page as HTML."""
    names = list(page.names)
    title = f"Run {names[0]}" if len(names) == 1 else f"Runs {', '.join(names)}"
    return whole_page(
        title,
        _controls(page),
        [element("p", note, class_="missed") for note in page.notes],
        sections(
            ("Curves", element("div", list(_charts(page)), class_="charts")),
            ("Results", _by_run(page, list(_results(page)))),
            ("Checkpoints", _checkpoints(page)),
            ("Answers before and after", list(_samples(page))),
            ("Settings that differ", _differences(page, page.found.settings)),
            ("Device and versions that differ", _differences(page, page.found.program)),
            ("Digests", _by_run(page, list(_digests(page)), "words")),
            ("All settings", _all_settings(page)),
        ),
        more_style=CHART_STYLE,
        script=CHART_SCRIPT,
    )


def _controls(page: RunPage) -> Markup:
    smoothing = choice(
        "smoothing", "Smoothing", [("none", "none"), ("light", "light"), ("strong", "strong")]
    )
    log = element("label", element("input", id="log", type="checkbox"), "Logarithmic axis")
    switches = element("div", smoothing, log, class_="controls script-only")
    entries = (
        element(
            "li",
            element(
                "label",
                element("input", type="checkbox", checked=True, value=str(number)),
                _swatch(number),
                name,
            ),
        )
        for number, name in enumerate(page.names)
    )
    return element("div", switches, element("ul", entries, class_="legend", aria_label="Runs"))


def _swatch(number: int) -> Markup:
    line = element("line", x1=0, x2=32, y1=6, y2=6, class_=f"run r{number % COLOURS}")
    return element("svg", line, viewBox="0 0 32 12", aria_hidden="true")


def _charts(page: RunPage) -> Iterator[Markup]:
    for kind in CURVES:
        if kind.key == _ROW_CHART[1]:
            continue
        chart = line_chart(_chart(page, kind))
        if chart is not None:
            yield chart


def _chart(page: RunPage, kind: CurveKind) -> Chart:
    if kind.key == _ROW_CHART[0]:
        curves = [curve for key in _ROW_CHART for curve in _curves(page, key, is_named=True)]
        return Chart(title="Rows of a step", unit=kind.unit, curves=curves)
    if kind.key == "loss":
        curves = [*_curves(page, kind.key), *_curves(page, "heldout_loss", is_named=True)]
        return Chart(title="Training loss, held-out loss", unit=kind.unit, curves=curves)
    return Chart(title=kind.title, unit=kind.unit, curves=_curves(page, kind.key))


def _curves(page: RunPage, key: str, *, is_named: bool = False) -> list[Curve]:
    return [
        Curve(
            name=name,
            number=number,
            spots=_spots(curves.series[key]),
            has_marks=key == "heldout_loss",
            is_exact=key in _EXACT,
            kind=_KIND_WORDS.get(key, "") if is_named else "",
        )
        for number, (name, curves) in enumerate(zip(page.names, page.curves, strict=True))
    ]


def _spots(series: ThinnedSeries) -> list[Spot]:
    return [
        Spot((each.first + each.last) // 2, each.mean, each.least, each.greatest)
        for each in series.ranges
    ]


Row = tuple[str, Sequence[Child]]


def _by_run(page: RunPage, rows: Sequence[Row], class_: str | None = None) -> Markup | None:
    """A table with a column for each run; rows without any value are left out."""
    shown = [(name, *cells) for name, cells in rows if any(cells)]
    return table(("", *page.names), shown, class_=class_) if shown else None


def _results(page: RunPage) -> Iterator[Row]:
    facts: tuple[tuple[str, Callable[[RunRecord], str | None]], ...] = (
        ("state", lambda run: run.state.value),
        ("failure", lambda run: run.failure),
        ("started (UTC)", lambda run: (run.started_at or "")[:16].replace("T", " ")),
        ("steps", lambda run: f"{run.step:,} of {run.planned_steps or run.step:,}"),
        ("tokens", lambda run: _count(run.tokens)),
        ("learned tokens", lambda run: _count(run.supervised_tokens)),
        ("learned share", _learned_share),
        ("training loss", lambda run: _loss(run.train_loss)),
        ("held-out loss before", lambda run: _loss(run.heldout_loss_before)),
        ("held-out loss", lambda run: _loss(run.heldout_loss)),
        ("best held-out loss", _best),
        ("training time", lambda run: None if run.seconds is None else f"{run.seconds:,.1f} s"),
        ("tokens/s", lambda run: _count(run.tokens_per_second)),
        ("peak memory", _memory),
        ("base", lambda run: run.base),
        ("graph", lambda run: run.graph_id),
    )
    for name, cell in facts:
        yield name, [cell(run) for run in page.found.runs]


def _learned_share(run: RunRecord) -> str | None:
    if not run.tokens or run.supervised_tokens is None:
        return None
    return percent(run.supervised_tokens / run.tokens)


def _best(run: RunRecord) -> str | None:
    if run.best_step is None:
        return None
    return f"{_loss(run.best_heldout_loss)} after step {run.best_step:,}"


def _memory(run: RunRecord) -> str | None:
    peak = run.peak_memory_bytes
    return None if peak is None else f"{peak / (1 << 20):,.0f} MiB"


def _count(value: float | None) -> str | None:
    return None if value is None else f"{value:,.0f}"


def _loss(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _checkpoints(page: RunPage) -> Markup | None:
    rows: list[Sequence[Child]] = []
    for name, run in zip(page.names, page.found.runs, strict=True):
        for checkpoint in run.checkpoints:
            step = int(checkpoint.removeprefix("step-"))
            is_best = step == run.best_step
            rows.append(
                (name, checkpoint, _loss(run.evaluations.get(step)), "best" if is_best else None)
            )
    columns = ("run", "checkpoint", "held-out loss", "")
    return table(columns, rows) if rows else None


def _samples(page: RunPage) -> Iterator[Markup]:
    for name, samples in zip(page.names, page.samples, strict=True):
        if samples:
            yield element("h3", name)
        for each in samples:
            parts = (
                ("prompt", each.prompt),
                ("row's answer", each.expected),
                ("before training", each.before),
                ("after training", each.after),
            )
            yield element("dl", (_part(*part) for part in parts), class_="row sample")


def _part(name: str, text: str | None) -> Markup:
    shown = element("pre", text) if text and text.strip() else element("em", _nothing(text))
    return element("div", element("dt", name, class_="faint"), element("dd", shown))


def _nothing(text: str | None) -> str:
    if text is None:
        return "not yet"
    return "only white space" if text else "nothing"


def _differences(page: RunPage, found: Sequence[Difference]) -> Markup | None:
    return _by_run(page, [(each.name, [_value(v) for v in each.values]) for each in found])


def _digests(page: RunPage) -> Iterator[Row]:
    runs = page.found.runs
    for name in dict.fromkeys(name for run in runs for name in run.digests):
        cells = [run.digests.get(name) for run in runs]
        same = " (the same)" if len(runs) > 1 and len(set(cells)) == 1 else ""
        yield f"{name}{same}", cells


def _all_settings(page: RunPage) -> Markup | None:
    all_values: list[Mapping[str, object]] = [
        {**run.settings, **run.program} for run in page.found.runs
    ]
    names = dict.fromkeys(name for values in all_values for name in values)
    rows = [(name, [_value(values.get(name)) for values in all_values]) for name in names]
    listed = _by_run(page, rows, "words")
    return element("details", element("summary", "Show"), listed) if listed else None


def _value(value: object) -> str | None:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
