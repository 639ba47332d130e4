"""Docstring-to-function rows from Python source, split so that held-out rows were never seen.

A row asks for a function by its signature and docstring and answers with its source.
`stdlib_split` decides which side a module is on; here, a held-out row whose body also occurs in a
training module is dropped. The same sources give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vox_populi.corpus.pair_files import PairRow
from vox_populi.corpus.row_sides import SideOptions
from vox_populi.corpus.source_functions import (
    SourceFunction,
    body_key,
    functions_of,
    is_trivial,
    source_without_docstring,
)
from vox_populi.corpus.source_places import GOLDEN_KEY, GoldenExamples, is_archived, notes_of_rules
from vox_populi.corpus.stdlib_split import SourceModule, iter_python_files, parse_module
from vox_populi.errors import DataError
from vox_populi.files.json_report import JsonReport, shown
from vox_populi.number_ranges import COUNT, COUNT_OR_NONE, require_ranges
from vox_populi.operator_messages import data as say

CATEGORY = "python_function"
LANE = "vox_codegen"
"""The source system's lane of rows that answer with code."""


class Rejection(StrEnum):
    """Why a function does not give a row."""

    NO_DOCSTRING = "no_docstring"
    """No docstring, or less than a sentence."""
    TRIVIAL = "trivial_body"
    TOO_LONG = "too_long"
    """More lines or characters than `PairOptions` allows."""
    NO_CLEAN_CUT = "no_clean_cut"
    """Its text cannot be cut out without changing its meaning."""
    DUPLICATE_BODY = "duplicate_body"
    DUPLICATE_PROMPT = "duplicate_prompt"
    """Another row has the same prompt."""
    SEEN_IN_TRAINING = "seen_in_training"
    """Held out, but its body or its prompt occurs in a training module."""
    BEYOND_MAX_ROWS = "beyond_max_rows"
    LEGACY = "legacy"
    """A rule marks one of its lines as legacy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairOptions(SideOptions):
    """Limits for rows. The defaults keep rows at a few hundred tokens."""

    max_body_lines: int = 40
    max_response_chars: int = 1200
    max_docstring_chars: int = 480
    """Limit for whole paragraphs of the docstring; a longer first paragraph drops the function."""
    min_docstring_words: int = 4

    def __post_init__(self) -> None:
        require_ranges(
            ("--max-rows", self.max_rows, COUNT),
            ("--max-valid-rows", self.max_heldout_rows, COUNT),
            ("max_body_lines", self.max_body_lines, COUNT),
            ("max_response_chars", self.max_response_chars, COUNT),
            ("max_docstring_chars", self.max_docstring_chars, COUNT),
            ("min_docstring_words", self.min_docstring_words, COUNT_OR_NONE),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsReport(JsonReport):
    """Counts of one build."""

    modules: int
    heldout_modules: int
    unparsable: tuple[str, ...]
    """Files below the root that this interpreter cannot parse."""
    functions: int
    train_rows: int
    heldout_rows: int
    rejected: dict[Rejection, int] = field(metadata=shown("dropped"))
    archived: int = 0
    """Files of archive folders, which were not read."""
    golden_rows: int = 0
    """Rows of golden examples, on both sides."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out by a rule, for the operator."""
        return notes_of_rules(self.archived, self.rejected[Rejection.LEGACY])


@dataclass(frozen=True, slots=True)
class PairsResult:
    """Rows of both sides, in the order of their modules."""

    train: tuple[PairRow, ...]
    heldout: tuple[PairRow, ...]
    report: PairsReport


def build_pairs(root: Path, options: PairOptions | None = None) -> PairsResult:
    """Make rows from every documented function below a folder, without running any code.

    Raises:
        DataError: For a folder that is missing or gives no training rows.
    """
    if not root.is_dir():
        raise DataError(say.SOURCE_FOLDER_MISSING.at(str(root)))
    options = options or PairOptions()
    builder = _Builder(root, options)
    found = list(iter_python_files(root))
    modules = [each for each in found if options.include_archive or not builder.archived(each)]
    # Training modules first: a held-out row must know every body that training may show. Golden
    # examples first on each side: of two equal rows, theirs is kept.
    for module in sorted(modules, key=lambda each: (each.heldout, not builder.golden(each))):
        builder.add(module)
    result = builder.result(modules, len(found) - len(modules))
    if not result.train:
        report = result.report
        raise DataError(say.no_pairs_found(report.modules, len(report.unparsable)).at(str(root)))
    return result


class _Builder:
    """Goes through modules once, training side first, and keeps the functions that make a row."""

    def __init__(self, root: Path, options: PairOptions) -> None:
        self._root = root
        self._options = options
        self._golden = GoldenExamples(root)
        self._rows: dict[bool, list[PairRow]] = {False: [], True: []}
        self._bodies_with_row: set[bytes] = set()
        self._bodies_in_training: set[bytes] = set()
        self._prompts: dict[bytes, bool] = {}
        self._unparsable: list[str] = []
        self._functions = 0
        self._rejected: Counter[Rejection] = Counter()

    def archived(self, module: SourceModule) -> bool:
        """Whether a module is in an archive folder."""
        return is_archived(module.path.relative_to(self._root))

    def golden(self, module: SourceModule) -> bool:
        """Whether a module is a golden example."""
        return module.path.relative_to(self._root) in self._golden

    def add(self, module: SourceModule) -> None:
        """Add the rows of a module."""
        source, functions = _functions_in(module)
        if functions is None:
            self._unparsable.append(module.path.relative_to(self._root).as_posix())
            return
        lines = source.split("\n")
        for function, body in functions:
            self._functions += 1
            outcome = self._row(module, function, body, lines)
            if isinstance(outcome, Rejection):
                self._rejected[outcome] += 1
            else:
                self._rows[module.heldout].append(outcome)
            if not module.heldout:
                self._bodies_in_training.add(body)

    def result(self, modules: Sequence[SourceModule], n_archived: int) -> PairsResult:
        """The rows of both sides and the counts."""
        limits = (self._options.max_rows, self._options.max_heldout_rows)
        train, heldout = (
            self._limited(self._rows[side], limit)
            for side, limit in zip((False, True), limits, strict=True)
        )
        report = PairsReport(
            modules=len(modules),
            heldout_modules=sum(module.heldout for module in modules),
            unparsable=tuple(sorted(self._unparsable)),
            functions=self._functions,
            train_rows=len(train),
            heldout_rows=len(heldout),
            rejected={reason: self._rejected[reason] for reason in Rejection},
            archived=n_archived,
            golden_rows=sum(GOLDEN_KEY in row for row in (*train, *heldout)),
        )
        return PairsResult(train, heldout, report)

    def _limited(self, rows: list[PairRow], limit: int | None) -> tuple[PairRow, ...]:
        """At most `limit` rows: golden examples, then others by a hash of their source."""
        if limit is None or len(rows) <= limit:
            return tuple(rows)
        self._rejected[Rejection.BEYOND_MAX_ROWS] += len(rows) - limit
        ranks = [(GOLDEN_KEY not in row, _key(str(row["source"]))) for row in rows]
        ranked = sorted(range(len(rows)), key=ranks.__getitem__)
        return tuple(rows[row] for row in sorted(ranked[:limit]))

    def _row(
        self, module: SourceModule, function: SourceFunction, body: bytes, lines: list[str]
    ) -> PairRow | Rejection:
        if is_trivial(function.statements):
            return Rejection.TRIVIAL
        docstring = function.docstring or ""
        if len(docstring.split()) < self._options.min_docstring_words:
            return Rejection.NO_DOCSTRING
        response = source_without_docstring(function, lines)
        docstring = _leading_paragraphs(docstring, self._options.max_docstring_chars)
        source = f"{module.name}:{function.qualname}"
        if response is None or not _is_text(docstring + source):
            return Rejection.NO_CLEAN_CUT
        if not docstring or self._is_long(function, response):
            return Rejection.TOO_LONG
        prompt = _prompt(function, docstring)
        tags = self._options.legacy.tags((prompt, response))
        if tags is None:
            return Rejection.LEGACY
        repeated = self._repeated(module, body, _key(prompt))
        if repeated is not None:
            return repeated
        return {
            "prompt": prompt,
            "response": response,
            "category": CATEGORY,
            "lane": LANE,
            "source": source,
            **({GOLDEN_KEY: True} if self.golden(module) else {}),
            **tags,
        }

    def _is_long(self, function: SourceFunction, response: str) -> bool:
        first, last = function.statements[0], function.statements[-1]
        n_lines = (last.end_lineno or last.lineno) - first.lineno + 1
        too_many = n_lines > self._options.max_body_lines
        return too_many or len(response) > self._options.max_response_chars

    def _repeated(self, module: SourceModule, body: bytes, prompt: bytes) -> Rejection | None:
        """Why a row is a repetition; otherwise it is remembered."""
        in_training = body in self._bodies_in_training or self._prompts.get(prompt) is False
        if module.heldout and in_training:
            return Rejection.SEEN_IN_TRAINING
        if body in self._bodies_with_row:
            return Rejection.DUPLICATE_BODY
        if prompt in self._prompts:
            return Rejection.DUPLICATE_PROMPT
        self._bodies_with_row.add(body)
        self._prompts[prompt] = module.heldout
        return None


def _functions_in(module: SourceModule) -> tuple[str, list[tuple[SourceFunction, bytes]] | None]:
    """Text of a module and its functions with their bodies' keys; `None` if it cannot be parsed."""
    parsed = parse_module(module.path)
    if parsed is None:
        return "", None
    source, tree = parsed
    try:
        return source, [(function, body_key(function)) for function in functions_of(tree)]
    except RecursionError:
        # An expression of thousands of terms parses, but cannot be walked.
        return source, None


def _prompt(function: SourceFunction, docstring: str) -> str:
    kind = "function" if function.class_name is None else "method"
    owner = "" if function.class_name is None else f" of class `{function.class_name}`"
    return f"Write the Python {kind} `{function.signature}`{owner}.\n\n{docstring}"


def _leading_paragraphs(docstring: str, most_chars: int) -> str:
    """The leading whole paragraphs that fit; none if the first does not."""
    kept = ""
    for paragraph in docstring.split("\n\n"):
        longer = f"{kept}\n\n{paragraph}" if kept else paragraph
        if len(longer) > most_chars:
            break
        kept = longer
    return kept.strip()


def _is_text(text: str) -> bool:
    """Whether a text can be written as UTF-8: escapes and file names may hold lone surrogates."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
