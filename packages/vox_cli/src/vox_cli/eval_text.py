"""An evaluation as readable text: what was measured, then a table of sources."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from vox_cli.report_text import aligned
from vox_cli.text_width import cells, padded
from vox_populi.files.json_numbers import perplexity_of
from vox_populi.pipeline.evaluate import AnswerScore, EvalReport, Measured, SourceLoss
from vox_tensor.visible_text import one_line

TOTAL = "total"
ARROW = " -> "
NOTHING = "-"

Show = Callable[[Measured | SourceLoss], str]


def eval_text(report: EvalReport) -> str:
    """Loss, perplexity and answers: the totals, and a line per source if there are several.

    When measured with and without adapter, each number is shown as `before -> after`.
    """
    head = aligned(
        [
            ("model", report.model),
            ("adapter", report.adapter),
            *_totals(report),
            ("supervised tokens", f"{report.supervised_tokens:,}"),
            ("rows", f"{report.rows:,}{_left_out(report)}"),
            ("time", f"{report.seconds:.1f} s"),
            ("device", f"{report.device}, {report.compute_dtype}"),
        ]
    )
    if len(report.sources) < 2:
        return head
    return "\n".join([head, "", *table_lines(list(_table(report)))])


def table_lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table whose first column is left-aligned and the others right-aligned."""
    safe = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(cells, column)) for column in zip(*safe, strict=True)]
    for row in safe:
        first, *others = (
            padded(cell, width, to_the_right=index > 0)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()


def _totals(report: EvalReport) -> Iterator[tuple[str, str | None]]:
    """Names and values that a comparison shows twice."""
    before = report.base
    yield "loss", _both(before, report.measured, _loss) + _change(report)
    yield "perplexity", _both(before, report.measured, _perplexity)
    if report.measured.answers is not None:
        yield "exact answers", _both(before, report.measured, _exact)
        yield "unfinished", _unfinished(report.measured.answers)
        yield "Python answers", _both(before, report.measured, _python) + _ceiling(report.measured)


def _table(report: EvalReport) -> Iterator[list[str]]:
    has_answers = report.measured.answers is not None
    yield ["source", "rows", "loss", "perplexity", *(["exact", "Python"] if has_answers else [])]
    bases = report.base.sources if report.base else [None] * len(report.sources)
    for base, source in zip(bases, report.sources, strict=True):
        yield _line(source.source, source.rows, base, source, has_answers=has_answers)
    yield _line(TOTAL, report.rows, report.base, report.measured, has_answers=has_answers)


def _line(
    name: str,
    rows: int,
    before: Measured | SourceLoss | None,
    after: Measured | SourceLoss,
    *,
    has_answers: bool,
) -> list[str]:
    shown = (_loss, _perplexity, *((_exact, _python) if has_answers else ()))
    return [name, f"{rows:,}", *(_both(before, after, show) for show in shown)]


def _both(before: Measured | SourceLoss | None, after: Measured | SourceLoss, show: Show) -> str:
    if before is None or NOTHING == show(before) == show(after):
        return show(after)
    return f"{show(before)}{ARROW}{show(after)}"


def _loss(measured: Measured | SourceLoss) -> str:
    return f"{measured.loss:.4f}"


def _perplexity(measured: Measured | SourceLoss) -> str:
    value = perplexity_of(measured.loss)
    return NOTHING if value is None else f"{value:.2f}"


def _exact(measured: Measured | SourceLoss) -> str:
    return _share(measured.answers, "exact")


def _python(measured: Measured | SourceLoss) -> str:
    return _share(measured.answers, "python")


def _share(answers: AnswerScore | None, name: str) -> str:
    return NOTHING if answers is None else f"{getattr(answers, name)} of {answers.rows}"


def _unfinished(answers: AnswerScore) -> str | None:
    """Answers that are blank or were cut off, neither of which can be right."""
    counts = ((answers.blank, "blank"), (answers.cut, "cut at --max-new-tokens"))
    return ", ".join(f"{count} {what}" for count, what in counts if count) or None


def _change(report: EvalReport) -> str:
    if report.base is None or report.base.loss == 0:
        return ""
    return f" ({100 * (report.loss / report.base.loss - 1):+.1f} %)"


def _ceiling(measured: Measured) -> str:
    answers = measured.answers
    return "" if answers is None else f" (of the rows' own answers {answers.expected_python})"


def _left_out(report: EvalReport) -> str:
    parts = [
        f"{count:,} {what}"
        for count, what in (
            (report.truncated_rows, "truncated"),
            (report.skipped_rows, "skipped"),
        )
        if count
    ]
    return f" ({', '.join(parts)})" if parts else ""
