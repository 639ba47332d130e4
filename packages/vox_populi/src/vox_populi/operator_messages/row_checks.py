"""Checks of rows before training (MENS-D210 to D229): previews, the mask, a corpus."""

from __future__ import annotations

from vox_tensor.errors import Problem

ROW_GATES = {
    "max_refused_share": (
        "are refused",
        "Fix them, or raise the limit and train with --on-bad-row skip.",
    ),
    "max_no_end_share": (
        "learn an answer without an end, so the model would not learn to stop",
        "Use a template whose end of turn is a token of the base.",
    ),
    "max_wrong_bos_share": (
        "do not have exactly one BOS, which the base begins every text with",
        "Use the base's own template (--template model).",
    ),
    "max_cut_share": (
        "are longer than --seq-len",
        "Raise --seq-len, shorten the rows, or raise the limit.",
    ),
    "max_control_share": (
        "have text that spells a control token",
        "Remove it from the rows, or raise the limit.",
    ),
}
"""What is said of the rows that a gate counts, and what to do about them."""
CORPUS_GATES = {
    "max_errors": (
        "cannot be used",
        "Fix them, or raise the limit and train with --on-bad-row skip.",
    ),
    "max_duplicates": (
        "repeat an earlier one",
        "Remove them, or raise the limit; weight in a row makes it count more.",
    ),
    "max_near_duplicates": (
        "are nearly an earlier one",
        "Remove them, or raise the limit.",
    ),
    "max_overlap": (
        "are in the corpus too (the same row, the same prompt, or nearly the same text)",
        "Divide the rows with vox mens corpus split, or raise the limit.",
    ),
    "max_cut": ROW_GATES["max_cut_share"],
    "max_control": ROW_GATES["max_control_share"],
}
"""The same for a corpus; of overlap, the rows are held-out ones."""
LEARN_MORE = "Look at some rows (vox mens preview), shorten the prompts, or lower the limit."


def rows_of(count: int, rows: int, words: str) -> str:
    """A count of rows with what is true of them, as the beginning of a sentence."""
    return f"{count:,} of {rows:,} rows {words}"


def heldout_rows_of(count: int, rows: int, words: str) -> str:
    """The same of held-out rows."""
    return f"{count:,} of {rows:,} held-out rows {words}"


def tokens_learned(learned: int, tokens: int, unit: str = "tokens") -> str:
    """The learned tokens or characters, as the beginning of a sentence."""
    return f"{learned:,} of {tokens:,} {unit} are learned"


def no_such_row(row: int, rows: int) -> Problem:
    """A row was requested by a number beyond the last."""
    return Problem(
        code="MENS-D210",
        what=f"there is no row {row:,}: training uses {rows:,} rows of this file.",
        fix=f"Pass --row from 1 to {rows}.",
    )


def line_has_no_row(line: int) -> Problem:
    """A row was requested by a line that training does not use."""
    return Problem(
        code="MENS-D211",
        what=f"training uses no row on line {line:,}.",
        fix="Pass the line of another row; --min-rating and --context-filter leave rows out.",
    )


def share_above(where: str, found: str, flag: str, limit: float, fix: str) -> Problem:
    """More rows have a flaw than a gate allows."""
    return Problem(
        code="MENS-D212",
        what=f"{found}, more than the {limit:.4g} that {flag} allows.",
        fix=fix,
        where=where,
    )


def share_below(where: str, found: str, flag: str, limit: float, fix: str) -> Problem:
    """Less is learned than a gate demands."""
    return Problem(
        code="MENS-D213",
        what=f"{found}, less than the {limit:.4g} that {flag} demands.",
        fix=fix,
        where=where,
    )


REPORT_OCCUPIED = Problem(
    code="MENS-D214",
    what="it already exists.",
    fix="Choose another file for --html, or pass --force to replace it.",
)
"""Something exists where a report should go."""

REPORT_NOT_A_FILE = Problem(
    code="MENS-D215",
    what="it is not a regular file, so it is not replaced.",
    fix="Choose another file for --html.",
)
"""A folder, link or device exists where a report should go; --force does not replace it."""


def report_is_input(source: str) -> Problem:
    """A report would replace a file that is read for it."""
    return Problem(
        code="MENS-D216",
        what=f"this would replace {source}, which is read.",
        fix="Choose another file for --html.",
    )


CORPUS_FILE_REPEATED = Problem(
    code="MENS-D217",
    what="this file is passed more than once.",
    fix="Pass each file once; pass held-out rows with --eval.",
)
"""A file was passed twice, so every row of it would count as repeated."""

SETTING_NEEDS_BASE = Problem(
    code="MENS-D218",
    what="it needs a tokenizer.",
    fix="Pass --model DIR or --tokenizer vox, or omit it.",
)
"""A limit in tokens without a tokenizer to count them."""
