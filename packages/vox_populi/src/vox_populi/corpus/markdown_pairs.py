"""Rows from the sections of Markdown documents: a heading asks, its text answers."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from vox_populi.corpus.markdown_sections import MarkdownDocument, Section, read_markdown
from vox_populi.corpus.row_metadata import DOCS_LANE
from vox_populi.corpus.row_sides import LeftOut, RowSides, SideOptions, Sides
from vox_populi.corpus.source_pairs import SourcePairs, SourceReport
from vox_populi.corpus.source_places import GoldenExamples, is_archived
from vox_populi.corpus.stdlib_split import is_heldout_module
from vox_populi.errors import DataError
from vox_populi.operator_messages import corpus_sources as say
from vox_tensor.regular_file import open_regular, read_whole

CATEGORY = "documentation"
SUFFIXES = (".md", ".markdown")
MAX_FILE_BYTES = 4 * 2**20
MIN_CHARS, MAX_CHARS = 100, 8000
"""Length of an answer; the source system's sections have at least 100 characters too."""
_SKIPPED_FOLDERS = frozenset({"node_modules", "__pycache__", "site-packages", "dist-packages"})
_RETIRED = frozenset({"archived", "deprecated", "legacy", "obsolete", "superseded"})
_QUESTION = re.compile(r"(?:Q|Question)\s*[:.]\s*(.+)", re.IGNORECASE)
_ANSWER = re.compile(r"\A(?:\*\*)?(?:A|Answer)\s*[:.](?:\*\*)?\s+", re.IGNORECASE)


class _NotReadError(Exception):
    """A file that is not a document: too large, not UTF-8, not readable."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A document below the root."""

    relative: PurePath
    path: Path


def build_markdown_pairs(root: Path, options: SideOptions | None = None) -> SourcePairs:
    """Make rows from every Markdown document below a folder.

    Links are not followed. A document is on the held-out side as a whole, by a hash of its path.

    Raises:
        DataError: For a folder that is missing or gives no training rows.
    """
    if not root.is_dir():
        raise DataError(say.DOCUMENTS_MISSING.at(str(root)))
    options = options or SideOptions()
    builder = _Builder(root, options)
    for found in sorted(_documents(root), key=lambda each: each.relative.parts):
        builder.add(found)
    sides = builder.rows.sides()
    report = builder.report(sides)
    pairs = SourcePairs(sides.train, sides.heldout, report)
    if not pairs.train:
        raise DataError(say.no_document_rows(report.counts["files"]).at(str(root)))
    return pairs


class _Builder:
    """Goes through the documents once."""

    def __init__(self, root: Path, options: SideOptions) -> None:
        self.rows = RowSides(options)
        self._options = options
        self._golden = GoldenExamples(root)
        self._counts = Counter[str]()
        self._unreadable: list[str] = []

    def add(self, found: _Found) -> None:
        """Add the rows of a document."""
        takes_archives = self._options.include_archive
        if is_archived(found.relative) and not takes_archives:
            self._counts["archived"] += 1
            return
        self._counts["files"] += 1
        try:
            document = read_markdown(_text_of(found.path))
        except _NotReadError:
            self._unreadable.append(found.relative.as_posix())
            return
        if not _is_eligible(document):
            self._counts["not_eligible"] += 1
        elif _is_retired(document) and not takes_archives:
            self._counts["archived"] += 1
        else:
            self._add_sections(found, document)

    def report(self, sides: Sides) -> SourceReport:
        """The counts."""
        names = ("files", "heldout_files", "sections", "not_eligible")
        return SourceReport(
            counts={name: self._counts[name] for name in names},
            unreadable=tuple(self._unreadable),
            archived=self._counts["archived"],
            golden_rows=sides.golden_rows,
            train_rows=len(sides.train),
            heldout_rows=len(sides.heldout),
            left_out=sides.left_out,
        )

    def _add_sections(self, found: _Found, document: MarkdownDocument) -> None:
        name = found.relative.as_posix()
        is_heldout, is_golden = is_heldout_module(name), found.relative in self._golden
        self._counts["heldout_files"] += is_heldout
        title = document.title or found.relative.stem
        for section in document.sections:
            self._counts["sections"] += 1
            reason = _refusal(section)
            if reason is None:
                row = _row(section, document, title, name)
                self.rows.add(row, heldout=is_heldout, golden=is_golden)
            else:
                self.rows.leave_out(reason)


def _documents(root: Path) -> Iterator[_Found]:
    """Every Markdown file below a folder that is not reached through a link."""
    waiting = [root]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _SKIPPED_FOLDERS:
                continue
            path = Path(entry.path)
            if entry.is_dir(follow_symlinks=False):
                waiting.append(path)
            elif entry.name.lower().endswith(SUFFIXES) and entry.is_file(follow_symlinks=False):
                yield _Found(path.relative_to(root), path)


def _text_of(path: Path) -> str:
    try:
        with open_regular(path, follow_links=False) as file:
            text = read_whole(file, MAX_FILE_BYTES).decode("utf-8-sig")
        path.as_posix().encode("utf-8")
    except (OSError, UnicodeError):
        raise _NotReadError from None
    if "\0" in text:
        raise _NotReadError
    return text


def _is_eligible(document: MarkdownDocument) -> bool:
    """Whether a document's front matter leaves it to be trained on, as in the source system."""
    fields = document.front_matter
    no, yes = ("false", "no", "off"), ("true", "yes", "on")
    return fields.get("training_eligible", "").lower() not in no and (
        fields.get("draft", "").lower() not in yes
    )


def _is_retired(document: MarkdownDocument) -> bool:
    fields = document.front_matter
    return any(fields.get(key, "").lower() in _RETIRED for key in ("status", "doc_status"))


def _refusal(section: Section) -> LeftOut | None:
    """Why a section gives no row."""
    if not section.heading or len(section.text) < MIN_CHARS:
        return LeftOut.TOO_SHORT
    return LeftOut.TOO_LONG if len(section.text) > MAX_CHARS else None


def _row(section: Section, document: MarkdownDocument, title: str, name: str) -> dict[str, object]:
    question = _question(section.heading)
    answer = section.text if question is None else _ANSWER.sub("", section.text)
    metadata: dict[str, object] = {
        "doc_path": name,
        "doc_title": title,
        "heading": section.heading,
        "heading_slug": _slug(section.heading),
        "line": section.line,
    }
    status = document.front_matter.get("status") or document.front_matter.get("doc_status")
    if status:
        metadata["doc_status"] = status
    return {
        "prompt": question or _request(section, title),
        "response": answer + "\n",
        "category": CATEGORY,
        "lane": DOCS_LANE,
        "response_mode": "prose_only",
        "task_family": "docs_qa",
        "source": f"{name}#{_slug(section.heading)}",
        "format": "documentation",
        "metadata": metadata,
    }


def _question(heading: str) -> str | None:
    """A heading that is a question as it is asked."""
    marked = _QUESTION.fullmatch(heading)
    if marked is not None:
        return marked[1].strip()
    return heading if heading.endswith("?") else None


def _request(section: Section, title: str) -> str:
    """What asks for a section whose heading is not a question."""
    above = [words for words in (title, *section.headings[:-1]) if words != section.heading]
    path = list(dict.fromkeys(above))
    if not path:
        return f'Write the documentation section "{section.heading}".'
    return f'Write the section "{section.heading}" of the documentation "{" > ".join(path)}".'


def _slug(heading: str) -> str:
    return "-".join(re.findall(r"[\w]+", heading.casefold()))
