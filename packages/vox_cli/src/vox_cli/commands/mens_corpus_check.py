"""`vox mens corpus check`: errors, repetition, leakage and lengths of files of rows."""

from __future__ import annotations

from collections.abc import Iterator

from vox_cli.console import Console
from vox_cli.report_text import aligned, counts_text
from vox_populi.corpus.length_counts import LengthCounts
from vox_populi.pages.corpus_page import summary
from vox_populi.pipeline.corpus_check import (
    CorpusCheckRequest,
    CorpusReport,
    check_corpus,
)
from vox_tensor.visible_text import one_line

_MOST_SHOWN = 5


def check(console: Console, request: CorpusCheckRequest) -> None:
    """Examine files of rows: errors, layouts, lengths, repeated rows, rows also held out.

    Nothing is modified. Rows are counted in characters, and with --model or --tokenizer in tokens
    as a run would train on them. Exits with code 6 if a limit is exceeded.
    """
    report = check_corpus(request)
    console.notes(report.notes)
    console.gated(report, check_text)


def check_text(report: CorpusReport) -> str:
    """The counts, then examples; missed gates are for the error handler to print."""
    found = report.found
    head = [
        *summary(report),
        ("left out", f"{found.left_out:,}" if found.left_out else None),
        ("layouts", counts_text(found.layouts).strip(" ()") or None),
        *((f"{name} per row", _length_text(each)) for name, each in found.lengths.items()),
    ]
    examples = [*_examples(report)]
    page = [] if report.html is None else [aligned([("page", report.html)])]
    return "\n\n".join([aligned(head), *(["\n".join(examples)] if examples else []), *page])


def _length_text(counts: LengthCounts) -> str | None:
    if not counts.count:
        return None
    quantiles = counts.quantiles()
    shown = (counts.least, *(quantiles[each] for each in ("p50", "p95", "p99")), counts.greatest)
    names = ("min", "median", "95 %", "99 %", "max")
    return ", ".join(
        f"{name} {each:,}" for name, each in zip(names, shown, strict=True) if each is not None
    )


def _examples(report: CorpusReport) -> Iterator[str]:
    """Problems and the first examples; `--html` and `--json` have more."""
    found = report.found
    for file in found.files:
        yield from (f"bad: {problem}" for problem in file.problems)
    for size, rows in found.repeated[:_MOST_SHOWN]:
        places = [each.place for each in rows]
        more = " ..." if size > len(places) else ""
        yield one_line(f"{size} equal rows: {', '.join(places)}{more}")
    for kind, pairs in (("nearly equal", found.near), ("held-out", found.overlaps)):
        for pair in pairs[:_MOST_SHOWN]:
            yield one_line(f"{kind}: {pair.row.place} and {pair.other.place}, {pair.words}")
