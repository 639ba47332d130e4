"""The page of `vox mens corpus check --html`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from vox_populi.corpus.corpus_check import CorpusFindings, PairExample, RowExcerpt
from vox_populi.corpus.length_counts import LengthCounts
from vox_populi.data.row_gates import Gate
from vox_populi.pages.histogram import histogram
from vox_populi.pages.markup import Child, Markup, element
from vox_populi.pages.mask_page import FINDING_WORDS, gate_table, problem_table
from vox_populi.pages.page_frame import percent, sections, table, whole_page


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusPage:
    """What the page shows."""

    found: CorpusFindings
    gates: tuple[Gate, ...]
    similarity: float
    base: str | None = None
    """The base whose tokenizer counted."""
    seq_len: int | None = None


def corpus_page(page: CorpusPage) -> Markup:
    """The page as HTML."""
    found = page.found
    problems = [problem for file in found.files for problem in file.problems]
    names = [file.path.name for file in found.files]
    title = f"Corpus: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}"
    return whole_page(
        title,
        table(("counted", "value"), list(summary(page)), class_="words"),
        sections(
            ("Gates", gate_table(page.gates)),
            ("Files", _files(found)),
            ("Bad rows", problem_table(problems)),
            ("Lengths", _charts(page)),
            ("Layouts", _layouts(found)),
            ("Rows that are repeated", _repeated(found)),
            ("Rows that are nearly the same", _pairs(found.near, "earlier row")),
            ("Held-out rows that the corpus has", _pairs(found.overlaps, "row of the corpus")),
        ),
    )


def summary(page: CorpusPage) -> Iterator[tuple[str, str]]:
    """Names and values of the most important counts, also for the terminal."""
    found, like = page.found, page.found.likenesses
    rows = found.usable
    yield "rows", f"{found.rows:,}"
    yield "bad rows", _of(found.bad, sum(file.rows for file in found.files))
    yield "learned", f"{percent(found.learned_share)} of {found.total:,} {found.unit}"
    yield "control text", _of(found.control_text, rows)
    yield "repeated rows", _of(like.repeated, rows, like.repeated_groups)
    yield "nearly repeated", _of(like.near, rows, like.near_groups)
    if found.masks is not None:
        counts = found.masks.findings
        for finding, words in FINDING_WORDS.items():
            if counts[finding]:
                yield words, _of(counts[finding], rows)
    if found.heldout:
        yield "held-out rows", f"{found.heldout:,}"
        yield "also in the corpus", _of(like.heldout_same, found.heldout)
        yield "prompt in the corpus", _of(like.heldout_prompts, found.heldout)
        yield "nearly in the corpus", _of(like.heldout_near, found.heldout)
    if page.base is not None:
        yield "tokenizer", page.base


def _of(count: int, rows: int, groups: int = 0) -> str:
    if not count:
        return "0"
    of_groups = f", in {groups:,} group{'s' * (groups != 1)}" if groups else ""
    return f"{count:,} ({percent(count / rows if rows else 0.0)}{of_groups})"


def _files(found: CorpusFindings) -> Markup:
    rows = [
        (
            str(file.path),
            "held-out" if file.heldout else "corpus",
            f"{file.rows:,}",
            f"{file.bad:,}",
        )
        for file in found.files
    ]
    return table(("file", "used as", "rows", "bad"), rows)


def _layouts(found: CorpusFindings) -> Markup | None:
    rows = [(name, f"{count:,}") for name, count in found.layouts.items()]
    return table(("layout", "rows"), rows) if rows else None


def _charts(page: CorpusPage) -> Markup:
    drawn = (
        histogram(
            f"{name.capitalize()} per row{_beyond(page, name)}",
            counts.buckets,
            name,
            page.seq_len if name == "tokens" else None,
        )
        for name, counts in page.found.lengths.items()
    )
    lengths = [(name, *_length_cells(counts)) for name, counts in page.found.lengths.items()]
    columns = ("per row", "total", "mean", "least", "median", "95 %", "99 %", "greatest")
    return element("div", element("div", drawn, class_="charts"), table(columns, lengths))


def _beyond(page: CorpusPage, name: str) -> str:
    if name != "tokens" or page.seq_len is None:
        return ""
    return f", above {page.seq_len:,} in another colour"


def _length_cells(counts: LengthCounts) -> tuple[str, ...]:
    if not counts.count:
        return ("0", *["-"] * 6)
    quantiles = counts.quantiles()
    shown = (counts.least or 0, *(quantiles[each] for each in ("p50", "p95", "p99")))
    return (
        f"{counts.total:,}",
        f"{counts.total / counts.count:,.1f}",
        *(f"{each:,}" for each in shown),
        f"{counts.greatest or 0:,}",
    )


def _repeated(found: CorpusFindings) -> Markup | None:
    rows = [
        (rows[0].place, f"{size:,} times", _places(rows[1:]), rows[0].text)
        for size, rows in found.repeated
    ]
    if not rows:
        return None
    return table(("first row", "is there", "also", "text"), rows, class_="words stack")


def _places(rows: Iterable[RowExcerpt]) -> list[Child]:
    return [(row.place, element("br")) for row in rows]


def _pairs(pairs: Sequence[PairExample], other: str) -> Markup | None:
    if not pairs:
        return None
    rows = [
        (
            pair.row.place,
            element("span", pair.words, class_="nowrap"),
            pair.other.place,
            (pair.row.text, element("hr"), pair.other.text),
        )
        for pair in pairs
    ]
    return table(("row", "is", other, "both texts"), rows, class_="words stack")
