"""A count of what is learned as readable text: totals, then a line or a block per source."""

from __future__ import annotations

from collections.abc import Iterator

from vox_cli.eval_text import table_lines
from vox_cli.report_text import aligned
from vox_cli.text_width import cells
from vox_populi.data.asked_rows import shown_asked
from vox_populi.data.mask_tally import MaskCounts
from vox_populi.data.row_mask import Finding
from vox_populi.operator_messages.wording import clipped
from vox_populi.pages.page_frame import percent
from vox_populi.pipeline.preview_check import MaskReport

_COLUMNS = (
    "source",
    "rows",
    "refused",
    "learned",
    "no end",
    "cut",
    "ends cut",
    "control text",
    "BOS",
)


def mask_text(report: MaskReport, columns: int | None) -> str:
    """The counts; missed gates are for the error handler to print.

    Args:
        report: What was counted.
        columns: Width of the terminal, if there is one; a table that does not fit it becomes a
            block per source.
    """
    total = report.total
    head = aligned([("data", shown_asked(report.data)), *_lines(total, report)])
    blocks = [head]
    if report.refusals:
        blocks.append("\n".join(f"refused: {problem}" for problem in report.refusals))
    if len(report.sources) > 1:
        blocks.append(_sources(report, columns))
    if report.html is not None:
        blocks.append(aligned([("page", report.html)]))
    return "\n\n".join(blocks)


def _lines(counts: MaskCounts, report: MaskReport) -> Iterator[tuple[str, object]]:
    found = counts.findings
    yield "rows", f"{counts.rows:,}"
    yield "left out", f"{counts.left_out:,}" if counts.left_out else None
    yield "refused", _of(counts, counts.refused)
    yield "tokens", f"{counts.tokens:,}"
    yield "learned", f"{counts.learned_tokens:,} ({percent(counts.learned_share)})"
    yield "begin alike", _alike(report)
    yield "no end learned", _of(counts, found[Finding.NO_END])
    yield f"longer than {report.seq_len:,}", _of(counts, found[Finding.CUT])
    yield "end cut off", _of(counts, found[Finding.CUT_END])
    yield "control text", _of(counts, found[Finding.CONTROL_TEXT])
    bos = found[Finding.WRONG_BOS]
    yield "BOS not once", _of(counts, bos) if report.has_bos else "the base adds none"


def _alike(report: MaskReport) -> str | None:
    sample = report.prefixes
    if sample is None or not sample.pays:
        return None
    return f"{percent(sample.saved_part)} of tokens"


def _of(counts: MaskCounts, count: int) -> str:
    return f"{count:,} ({percent(counts.share(count))})" if count else "0"


def _sources(report: MaskReport, columns: int | None) -> str:
    rows = [[clipped(name), *_cells(counts)] for name, counts in report.sources.items()]
    lines = list(table_lines([_COLUMNS, *rows]))
    if columns is None or max(map(cells, lines)) <= columns:
        return "\n".join(lines)
    return "\n\n".join(aligned(zip(_COLUMNS, row, strict=True)) for row in rows)


def _cells(counts: MaskCounts) -> list[str]:
    found = counts.findings
    shown = (
        counts.refused,
        *(found[each] for each in (Finding.NO_END, Finding.CUT, Finding.CUT_END)),
        *(found[each] for each in (Finding.CONTROL_TEXT, Finding.WRONG_BOS)),
    )
    refused, *others = (f"{count:,}" for count in shown)
    return [f"{counts.rows:,}", refused, percent(counts.learned_share), *others]
