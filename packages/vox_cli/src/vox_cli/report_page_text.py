"""Run reports as readable text: results, and each curve as a row of blocks."""

from __future__ import annotations

from collections.abc import Iterator

from vox_cli.report_text import aligned
from vox_cli.runs_text import compare_text
from vox_cli.text_width import cells, cut, padded
from vox_cli.watch_view import blocks_of, sparkline
from vox_populi.pages.line_chart import number_text
from vox_populi.pipeline.compare import CompareReport
from vox_populi.pipeline.report import RunReport
from vox_populi.runs.run_curves import CURVES
from vox_tensor.visible_text import one_line

_WIDEST = 60
_NAME_WIDTH = 21


def report_text(report: RunReport, room: int | None, *, has_unicode: bool) -> str:
    """The report for a terminal.

    Args:
        report: What was found.
        room: Terminal columns; `None` is a pipe.
        has_unicode: Whether more than ASCII can be shown.
    """
    parts = [compare_text(CompareReport(found=report.found), room)]
    width = min(room or _WIDEST + _NAME_WIDTH, _WIDEST + _NAME_WIDTH)
    parts.append("\n".join(_curves(report, width, has_unicode=has_unicode)))
    if report.html is not None:
        parts.append(aligned([("page", report.html)]))
    return "\n\n".join(part for part in parts if part)


def _curves(report: RunReport, width: int, *, has_unicode: bool) -> Iterator[str]:
    blocks = blocks_of(has_unicode=has_unicode)
    for kind in CURVES:
        drawn = [
            (name, curves.series[kind.key])
            for name, curves in zip(report.names, report.curves, strict=True)
        ]
        for name, series in drawn:
            means = [each.mean for each in series.ranges]
            if not means:
                continue
            head = f"{padded(kind.title.lower(), _NAME_WIDTH)} "
            tail = f" {number_text(means[0])} -> {number_text(means[-1])}"
            tail += f"  {one_line(name)}" if len(drawn) > 1 else ""
            line = sparkline(means, width - cells(head) - cells(tail), blocks)
            yield cut(f"{head}{line}{tail}", width) if not line else f"{head}{line}{tail}"
