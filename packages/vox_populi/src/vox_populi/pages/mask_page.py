"""The page of `vox mens preview --html`: what is learned of every source, and rows to look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from vox_populi.data.control_spelling import ControlSpelling
from vox_populi.data.marked_row import MarkedRow
from vox_populi.data.mask_tally import MaskCounts
from vox_populi.data.row_gates import Gate
from vox_populi.data.row_mask import Finding
from vox_populi.data.row_sample import SampledRow
from vox_populi.pages.marked_text import marked_text
from vox_populi.pages.markup import Child, Markup, element
from vox_populi.pages.page_frame import (
    choice,
    filter_style,
    percent,
    sections,
    table,
    whole_page,
)
from vox_tensor.errors import Problem

FINDING_WORDS = {
    Finding.NO_END: "no end learned",
    Finding.CUT: "cut",
    Finding.CUT_END: "end cut off",
    Finding.CONTROL_TEXT: "control text",
    Finding.WRONG_BOS: "BOS not once",
}
_HARMLESS = (Finding.CUT, Finding.CONTROL_TEXT)
COLUMNS = (
    *("source", "rows", "refused", "left out", "tokens", "learned", "share"),
    *FINDING_WORDS.values(),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskPage:
    """What the page shows."""

    data: str
    facts: Sequence[tuple[str, str]]
    """Names and values of what decides the text: model, template, length."""
    sources: Mapping[str, MaskCounts]
    total: MaskCounts
    gates: Sequence[Gate]
    refusals: Sequence[Problem]
    rows: Sequence[tuple[SampledRow, MarkedRow]]
    seen: int
    """Rows from which these were picked."""
    spelling: ControlSpelling


def source_cells(name: str, counts: MaskCounts) -> list[str]:
    """One line of the table of sources."""
    return [
        name,
        *(f"{count:,}" for count in (counts.rows, counts.refused, counts.left_out)),
        f"{counts.tokens:,}",
        f"{counts.learned_tokens:,}",
        percent(counts.learned_share),
        *(f"{counts.findings[finding]:,}" for finding in FINDING_WORDS),
    ]


def mask_page(page: MaskPage) -> Markup:
    """The page as HTML."""
    numbers = {name: f"s{i}" for i, name in enumerate(page.sources)}
    shown = list(dict.fromkeys(row.source for row, _ in page.rows))
    style = filter_style("source", "of", (numbers[name] for name in shown if name in numbers))
    style += filter_style("finding", "found", (finding.value for finding in Finding))
    return whole_page(
        f"What is learned: {page.data}",
        table(("setting", "value"), page.facts, class_="words"),
        sections(
            ("Sources", _sources(page)),
            ("Gates", gate_table(page.gates)),
            ("Refused rows", problem_table(page.refusals)),
            ("Rows", _rows(page, numbers, shown)),
        ),
        more_style=style,
    )


def gate_table(gates: Sequence[Gate]) -> Markup | None:
    """What was measured and allowed."""
    rows = [
        (gate.flag, gate.found, _limit(gate), _verdict(gate))
        for gate in gates
        if gate.limit is not None
    ]
    return table(("gate", "measured", "limit", ""), rows, class_="words stack") if rows else None


def problem_table(problems: Sequence[Problem]) -> Markup | None:
    """Problems, equal ones folded."""
    rows = [(problem.code, problem.where, f"{problem.what} {problem.fix}") for problem in problems]
    return table(("code", "where", "what"), rows, class_="words stack") if rows else None


def _limit(gate: Gate) -> str:
    words = "at least" if gate.is_floor else "at most"
    return f"{words} {percent(gate.limit or 0.0)}"


def _verdict(gate: Gate) -> Markup:
    if gate.ok:
        return element("span", "kept", class_="ok")
    return element("span", "missed", class_="missed")


def _sources(page: MaskPage) -> Markup:
    rows = [source_cells(name, counts) for name, counts in page.sources.items()]
    if len(rows) > 1:
        rows.append(source_cells("total", page.total))
    return table(COLUMNS, rows)


def _rows(page: MaskPage, numbers: Mapping[str, str], shown: Sequence[str]) -> list[Markup]:
    known = [name for name in shown if name in numbers]
    sources = [("", "all"), *((numbers[name], name) for name in known)]
    findings = [("", "all"), *((each.value, words) for each, words in FINDING_WORDS.items())]
    borders = element("input", type="checkbox", id="borders")
    return [
        element("p", _sample_words(page)),
        element("p", *_legend()),
        element(
            "div",
            choice("source", "Source", sources),
            choice("finding", "Finding", findings),
            element("label", borders, "Token borders"),
            class_="controls",
        ),
        *_articles(page, numbers),
    ]


def _sample_words(page: MaskPage) -> str:
    shown = len(page.rows)
    if shown == page.seen:
        return f"All {shown:,} rows that training can use."
    return (
        f"{shown:,} of the {page.seen:,} rows that training can use: some picked at random, and the"
        " first ones with each finding. The counts above are of all rows."
    )


def _legend() -> Iterator[Child]:
    yield element("mark", "learned")
    yield ", not learned, "
    yield element("b", "control token")
    yield ", "
    yield element("u", "text that spells one")
    yield ", ⏎ line end"


def _articles(page: MaskPage, numbers: Mapping[str, str]) -> Iterator[Markup]:
    for number, (sampled, marked) in enumerate(page.rows, start=1):
        findings = [each for each in FINDING_WORDS if each in sampled.mask.findings]
        tags = (_tag(finding) for finding in findings)
        counts = f"{len(marked.labels):,} tokens, {marked.n_learned:,} learned"
        weight = None if marked.weight == 1 else f"weight {marked.weight:g}"
        yield element(
            "article",
            element(
                "header",
                element("h3", sampled.place),
                element("span", counts, class_="faint"),
                element("span", weight, class_="faint") if weight else None,
                element("span", sampled.source, class_="faint"),
                tags,
            ),
            marked_text(marked, page.spelling),
            class_="row",
            id=f"row-{number}",
            data_of=numbers.get(sampled.source),
            data_found=" ".join(finding.value for finding in findings) or None,
        )


def _tag(finding: Finding) -> Markup:
    kind = "tag known" if finding in _HARMLESS else "tag"
    return element("span", FINDING_WORDS[finding], class_=kind)
