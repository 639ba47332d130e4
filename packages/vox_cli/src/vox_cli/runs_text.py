"""Lists and comparisons of runs as readable text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vox_cli.columns import Column, table_lines
from vox_cli.report_text import bytes_text
from vox_populi.pipeline.compare import CompareReport
from vox_populi.pipeline.list_runs import RunList
from vox_populi.pipeline.progress_lines import clock_text
from vox_populi.runs.run_comparison import Comparison
from vox_populi.runs.run_record import RunRecord
from vox_tensor.visible_text import one_line

_DIGEST_DIGITS = 12
_MARKS = "abcdefghijklmnopqrstuvwxyz"


def runs_text(listed: RunList, room: int | None) -> str:
    """A table of runs, and a line for each damaged folder."""
    sound = [each for each in listed.runs if each.record is not None]
    records = [each.record for each in sound if each.record is not None]

    def column(
        name: str, cell: Callable[[RunRecord], str], priority: int, *, is_number: bool = True
    ) -> Column:
        cells = [cell(record) for record in records]
        return Column(name=name, cells=cells, priority=priority, is_number=is_number)

    groups = listed.n_heldout_groups
    marks = ["" if e.heldout_group is None else _mark(e.heldout_group) for e in sound]
    columns = [
        column("run", lambda record: _place(record, listed), 0, is_number=False),
        column("state", lambda record: record.state.value, 2, is_number=False),
        column("held-out", lambda record: loss_text(record.heldout_loss), 1),
        Column(name="rows", cells=marks if groups > 1 else [""] * len(sound), priority=3),
        column("best", _best, 5),
        column("loss", lambda record: loss_text(record.train_loss), 4),
        column("steps", _steps, 6),
        column("tokens", lambda record: _count(record.tokens), 7),
        column("started", lambda record: _date(record.started_at), 8, is_number=False),
        column("base", lambda record: record.base or "", 9, is_number=False),
    ]
    lines = table_lines(columns, room) if records else []
    if groups > 1:
        lines += ["", "held-out losses are comparable where `rows` has the same letter"]
    lines += [
        f"damaged: {one_line(f'{e.path}: {e.problem.what}')}" for e in listed.runs if e.problem
    ]
    return "\n".join(lines)


def compare_text(report: CompareReport, room: int | None) -> str:
    """Results and settings of runs beside each other, and what is the same."""
    found = report.found
    sections = [
        _section("", _results(found), found, room),
        _section("settings that differ", _settings(found), found, room),
        _inputs(found),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def loss_text(loss: float | None) -> str:
    """A loss, or nothing."""
    return "" if loss is None else f"{loss:.4f}"


Row = tuple[str, Sequence[str]]


def _section(title: str, rows: Sequence[Row], found: Comparison, room: int | None) -> list[str]:
    """A table with a column for each run; below each other where it is too wide."""
    if not rows:
        return []
    names = [run.name for run in found.runs]
    columns = [
        Column(name=title, cells=[name for name, _ in rows], priority=0, is_number=False),
        *(
            Column(name=name, cells=[cells[i] or "-" for _, cells in rows], priority=0)
            for i, name in enumerate(names)
        ),
    ]
    lines = table_lines(columns, None)
    if room is None or max(map(len, lines)) <= room:
        return lines
    below = [title] if title else []
    for name, cells in rows:
        below.append(one_line(name))
        below += [
            one_line(f"  {run}: {cell or '-'}") for run, cell in zip(names, cells, strict=True)
        ]
    return below


def _results(found: Comparison) -> list[Row]:
    facts: tuple[tuple[str, Callable[[RunRecord], str]], ...] = (
        ("state", lambda run: run.state.value),
        ("steps", _steps),
        ("tokens", lambda run: _count(run.tokens)),
        ("train loss", lambda run: loss_text(run.train_loss)),
        ("held-out loss before", lambda run: loss_text(run.heldout_loss_before)),
        ("held-out loss", lambda run: loss_text(run.heldout_loss)),
        ("best", _best),
        ("time", lambda run: "" if run.seconds is None else clock_text(run.seconds)),
        ("tokens/s", lambda run: _rate(run.tokens_per_second)),
        ("peak memory", lambda run: bytes_text(run.peak_memory_bytes) or ""),
        ("base", lambda run: run.base or ""),
        ("graph", lambda run: run.graph_id or ""),
    )
    rows = [(name, [cell(run) for run in found.runs]) for name, cell in facts]
    return [row for row in rows if any(row[1])]


def _settings(found: Comparison) -> list[Row]:
    return [
        (each.name, [_value(value) for value in each.values])
        for each in (*found.settings, *found.program)
    ]


def _inputs(found: Comparison) -> list[str]:
    lines = []
    for name, is_same in found.inputs.items():
        digests = [_short(run.digests.get(name)) for run in found.runs]
        lines.append(f"{_INPUT_WORDS.get(name, name)}: {_sameness(digests, is_same=is_same)}")
    return lines


_INPUT_WORDS = {
    "data": "training rows",
    "valid": "held-out rows",
    "init_from": "adapter to start from",
}


def _sameness(digests: Sequence[str], *, is_same: bool) -> str:
    if len(digests) == 1:
        return digests[0]
    return f"the same ({digests[0]})" if is_same else f"not the same ({', '.join(digests)})"


def _short(digest: str | None) -> str:
    return "none" if digest is None else digest.removeprefix("sha256:")[:_DIGEST_DIGITS]


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    return "" if value is None else str(value)


def _place(record: RunRecord, listed: RunList) -> str:
    path = record.path
    return path.name if path == listed.folder else str(path.relative_to(listed.folder))


def _mark(group: int) -> str:
    return _MARKS[group] if group < len(_MARKS) else str(group)


def _steps(record: RunRecord) -> str:
    if record.planned_steps in (None, record.step):
        return f"{record.step:,}"
    return f"{record.step:,}/{record.planned_steps:,}"


def _best(record: RunRecord) -> str:
    if record.best_step is None:
        return ""
    return f"{loss_text(record.best_heldout_loss)} at {record.best_step}"


def _count(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:,.0f}"


def _date(started_at: str | None) -> str:
    """The minute; the seconds of a start interest nobody."""
    return "" if started_at is None else started_at[:16].replace("T", " ")
