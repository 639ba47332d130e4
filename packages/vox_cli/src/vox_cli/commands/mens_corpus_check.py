"""`vox mens corpus check`: errors, repetition, leakage and lengths of files of rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from vox_cli import flags, value_parsers
from vox_cli.console import Console
from vox_cli.report_text import aligned, counts_text
from vox_populi.contract.choices import TokenizerKind
from vox_populi.corpus.length_counts import LengthCounts
from vox_populi.data.learned_parts import LearnedParts
from vox_populi.data.template_rows import History
from vox_populi.data.training_text import ChatTemplate
from vox_populi.number_ranges import POSITIVE_SHARE, RATING, SEQ_LEN, SHARE
from vox_populi.pages.corpus_page import summary
from vox_populi.pipeline.corpus_check import (
    CorpusCheckRequest,
    CorpusGates,
    CorpusReport,
    check_corpus,
)
from vox_tensor.visible_text import one_line

_MOST_SHOWN = 5


def check(
    console: Console,
    files: Annotated[list[Path], flags.path_argument("Files of rows.", "FILE...")],
    eval_: Annotated[
        list[Path] | None,
        flags.value(
            "File of held-out rows, to find those that the corpus has; repeatable.",
            value_parsers.path,
            "FILE",
            names=("--eval",),
        ),
    ] = None,
    model: Annotated[
        Path | None, flags.path("Base folder whose tokenizer counts tokens.", "DIR")
    ] = None,
    tokenizer: Annotated[
        TokenizerKind | None,
        flags.choice("Vocabulary to count tokens with.", TokenizerKind, "hf with --model"),
    ] = None,
    template: Annotated[
        ChatTemplate | None,
        flags.choice("Template of a row, with a tokenizer.", ChatTemplate, "as in training"),
    ] = None,
    system_prompt: Annotated[str | None, flags.text("System prompt for rows without one.")] = None,
    history: Annotated[
        History | None,
        flags.choice(
            "Answers that the template rewrites later: refuse, learn the last, or split the row.",
            History,
            default="error",
        ),
    ] = None,
    learn: Annotated[
        LearnedParts | None,
        flags.choice(
            "What is learned of a row, with a tokenizer: its answers, the last one, or every"
            " token.",
            LearnedParts,
            default="answers",
        ),
    ] = None,
    min_rating: Annotated[
        int | None, flags.whole("Leave out rows with a lower rating.", RATING)
    ] = None,
    context_filter: Annotated[
        str | None, flags.text("Look only at rows whose category contains this.")
    ] = None,
    seq_len: Annotated[
        int | None, flags.whole("Count rows with more tokens than this.", SEQ_LEN)
    ] = None,
    no_row_cache: Annotated[
        bool, flags.switch("Keep and use no encoded rows of large files.", "--no-row-cache")
    ] = False,
    row_cache_dir: Annotated[
        Path | None,
        flags.path("Folder of the row cache.", "DIR", "vox-mens in the user's cache folder"),
    ] = None,
    similarity: Annotated[
        float,
        flags.real(
            "Rows with this share of three-word sequences in common are nearly the same.",
            POSITIVE_SHARE,
            0.8,
        ),
    ] = 0.8,
    max_errors: Annotated[
        float, flags.real("Largest share of rows that cannot be used.", SHARE, 0)
    ] = 0.0,
    max_duplicates: Annotated[
        float | None, flags.real("Largest share of rows that repeat an earlier one.", SHARE)
    ] = None,
    max_near_duplicates: Annotated[
        float | None, flags.real("Largest share of rows that are nearly an earlier one.", SHARE)
    ] = None,
    max_overlap: Annotated[
        float, flags.real("Largest share of held-out rows that the corpus has.", SHARE, 0)
    ] = 0.0,
    max_cut: Annotated[
        float | None, flags.real("Largest share of rows longer than --seq-len.", SHARE)
    ] = None,
    max_control: Annotated[
        float | None,
        flags.real("Largest share of rows with text that spells a control token.", SHARE),
    ] = None,
    min_learned: Annotated[
        float | None, flags.real("Smallest share of text that is learned.", SHARE)
    ] = None,
    html: Annotated[
        Path | None, flags.path("Write a page with charts and examples.", "FILE")
    ] = None,
    force: Annotated[bool, flags.switch("Replace the page of --html.", "--force")] = False,
) -> None:
    """Examine files of rows: errors, layouts, lengths, repeated rows, rows also held out.

    Nothing is modified. Rows are counted in characters, and with --model or --tokenizer in tokens
    as a run would train on them. Exits with code 6 if a limit is exceeded.
    """
    request = CorpusCheckRequest(
        files=tuple(files),
        heldout=tuple(eval_ or ()),
        model_dir=model,
        tokenizer=tokenizer,
        template=template,
        system_prompt=system_prompt,
        history=history,
        learn=learn,
        min_rating=min_rating,
        context_filter=context_filter,
        seq_len=seq_len,
        use_row_cache=not no_row_cache,
        row_cache_dir=row_cache_dir,
        similarity=similarity,
        gates=CorpusGates(
            max_errors=max_errors,
            max_duplicates=max_duplicates,
            max_near_duplicates=max_near_duplicates,
            max_overlap=max_overlap,
            max_cut=max_cut,
            max_control=max_control,
            min_learned=min_learned,
        ),
        html=html,
        force=force,
    )
    report = check_corpus(request)
    console.notes(report.notes)
    console.gated(report, check_text)


def check_text(report: CorpusReport) -> str:
    """The counts, then examples; missed gates are for the error handler to print."""
    found = report.found
    head = [
        *summary(report.page),
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
