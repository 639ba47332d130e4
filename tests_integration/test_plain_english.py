"""Text is plain English: no phrases that read as translated, and no docstrings that are fragments.

This covers the docs, the READMEs, operator messages, help texts and all docstrings of the packages.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "packages").glob("*/src/**/*.py"))
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/src/**/*.md"),
        *ROOT.glob("packages/*/README.md"),
    ]
)

STILTED = (
    (r"\b(?:is|are|was|were|be) no (?:usable|valid|sound|longer a)\b", "is not a valid"),
    (
        r"\b(?:it|this|that|which|they|these|those|what|one|name|loss|adapter|path|row|file|folder|"
        r"text|model|part|field|value) (?:is|are|was|were) no (?!longer\b|more\b|less\b|faster\b|"
        r"better\b|slower\b|larger\b|smaller\b)\w+",
        "is not a",
    ),
    (r"\bhas no usable\b", "has no valid"),
    (r"\b[Ll](?:eave|eaves|eft|eaving)\b(?: [\w`*-]+){0,3} away\b", "omit"),
    (r"\bgone on (?:with|from)\b", "resumed"),
    (r"\b(?:go|goes|going|went) on(?! to\b)\b", "continue, resume"),
    (r"\banew\b", "again"),
    (r"\banother (?:one|thing)\b", "a different one"),
    (
        r"\b(?:lie|lies|lay|lying) (?:in|on|at|beside|there|inside|behind|elsewhere)\b",
        "is (stored) in",
    ),
    (r"\b[Nn]ame (?:another|a new|the folder|its folder|one)\b", "choose, pass"),
    (r"\bGive (?:the|a|an|it|one|another|each|--?\w+)\b", "pass"),
    (r"\bstands? (?:in|there|beside|for itself|before|after|where|here|on)\b", "is in"),
    (r"\bin one go\b", "together"),
    (r"\bin four bits\b", "in 4 bits"),
    (r"\bmade of (?:it|them)\b", "made from"),
    (r"\bwhere (?:there is|there are|it has) none\b", "if there is none"),
    (r"\bon the way to it\b", "in the way"),
    (r"\b(?:knows?|says?) (?:nothing|no) (?:of|about)\b", "does not depend on, does not record"),
    (r"\bput (?:it|them|that) back\b", "restore, change back"),
    (r"\b[Mm]end(?:s|ed)?\b", "fix"),
    (r"\b[Ww]hoever\b", "anyone who"),
    (r"\bin words\b", "as text"),
    (r"\bthe way (?:in|out) is\b", "the entry point is"),
    (r"\bpassed over\b", "skipped"),
    (r"\bundisturbed\b", "uninterrupted"),
    (r"\bin silence\b", "silently"),
    (r"\bfor ever\b", "forever"),
)
"""What an engineer would not write, and what to write instead."""

FRAGMENT = re.compile(
    r"(?:Of|Those|That|These|As|Where|With|Also|And|Not|Without|For|By|From|To|So|Until|Because)\b"
)
"""First words of a docstring that is a footnote to its name and not a sentence about it."""


def strings_after_assignments(body: list[ast.stmt]) -> Iterator[ast.Constant]:
    """String expressions of a body: its docstring, and those that describe an attribute."""
    for statement in body:
        match statement:
            case ast.Expr(value=ast.Constant(value=str()) as constant):
                yield constant


def docstrings(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, those of attributes included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(body := getattr(node, "body", None), list):
            for constant in strings_after_assignments(body):
                yield constant.lineno, str(constant.value)


def shown_strings(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string in a module with messages or help texts."""
    is_shown = bool({"operator_messages", "contract", "vox_cli"} & set(path.parts))
    if not is_shown and path.name != "data_messages.py":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def prose(page: str) -> str:
    """A page without its code blocks, keeping the line numbers."""
    return re.sub(
        r"^```.*?^```$",
        lambda block: "\n" * block.group().count("\n"),
        page,
        flags=re.MULTILINE | re.DOTALL,
    )


def stilted(text: str) -> list[str]:
    """Each stilted phrase in a text, with what to write instead."""
    joined = " ".join(text.split())
    return [
        f"{hit.group()!r}: write {instead!r}"
        for pattern, instead in STILTED
        for hit in re.finditer(pattern, joined)
    ]


def is_fragment(docstring: str) -> bool:
    """Whether a docstring begins in the middle of a sentence."""
    return FRAGMENT.match(docstring.strip()) is not None


@pytest.mark.parametrize(
    "planted",
    [
        "it is no usable manifest",
        "Leave --meta away.",
        "a run that can be gone on with",
        "the run goes on from step 4",
        "start anew",
        "the loss is another one",
        "the file lies in the folder",
        "Name another --output-dir",
        "Give the model_final.bin of a run",
        "reported in\none go",
        "it knows nothing of files",
        "Mend the rows",
    ],
)
def test_the_search_for_stilted_phrases_finds(planted: str) -> None:
    assert stilted(planted)


@pytest.mark.parametrize(
    "plain",
    [
        "there is no such file",
        "it is no longer used",
        "that is no faster",
        "a file name",
        "given A",
    ],
)
def test_the_search_for_stilted_phrases_accepts(plain: str) -> None:
    assert stilted(plain) == []


def test_fragments_are_recognised() -> None:
    assert is_fragment("Of the model.")
    assert is_fragment("\n    Those of the base, changed.")
    assert not is_fragment("Offset of the first byte.")
    assert [line for line, text in docstrings('a = 1\n"""Of b."""\n') if is_fragment(text)] == [2]


def test_no_page_has_a_stilted_phrase() -> None:
    assert len(PAGES) > 40
    found = {
        str(path.relative_to(ROOT)): hits
        for path in PAGES
        if (hits := stilted(prose(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


def test_no_message_or_help_text_has_a_stilted_phrase() -> None:
    shown = [(path, line, text) for path in SOURCES for line, text in shown_strings(path)]
    assert len(shown) > 1000
    found = {
        f"{path.relative_to(ROOT)}:{line}": hits
        for path, line, text in shown
        if (hits := stilted(text))
    }
    assert found == {}


def test_no_docstring_has_a_stilted_phrase() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{line}": hits
        for path in SOURCES
        for line, text in docstrings(path.read_text(encoding="utf-8"))
        if (hits := stilted(text))
    }
    assert found == {}


def test_no_docstring_is_a_fragment() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path in SOURCES
        for line, text in docstrings(path.read_text(encoding="utf-8"))
        if is_fragment(text)
    ]
    assert found == []
