from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from vox_populi.corpus.legacy_rules import SOURCE_RULES, LegacyFilter, read_legacy_rules
from vox_populi.corpus.markdown_pairs import build_markdown_pairs
from vox_populi.corpus.markdown_sections import read_markdown
from vox_populi.corpus.row_sides import LeftOut, SideOptions
from vox_populi.corpus.source_pairs import SourcePairs
from vox_populi.errors import DataError

LONG = "This sentence fills a section so that it is long enough to make a row of its own. " * 2


def section(words: str, text: str = "") -> str:
    return f"# {words}\n\n{text or words + ': ' + LONG}\n\n"


def tree(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return root


def rows(built: SourcePairs) -> dict[str, dict[str, Any]]:
    """Rows of both sides by their source."""
    return {str(row["source"]): row for side in (built.train, built.heldout) for row in side}


def build(tmp_path: Path, files: dict[str, str | bytes], **options: Any) -> SourcePairs:
    return build_markdown_pairs(tree(tmp_path / "docs", files), SideOptions(**options))


def headings(text: str) -> list[tuple[str, ...]]:
    return [each.headings for each in read_markdown(text).sections]


def test_sections_have_their_headings_above_them() -> None:
    text = (
        "before\n# A #\na\n## B {#id}\nb\n### [C](x.md)\n## D\n\nTitle\n=====\nt\n\nSub\n---\ns\n"
    )
    document = read_markdown(text)
    assert [(each.headings, each.text, each.line) for each in document.sections] == [
        ((), "before", 1),
        (("A",), "a", 2),
        (("A", "B"), "b", 4),
        (("A", "B", "C"), "", 6),
        (("A", "D"), "", 7),
        (("Title",), "t", 9),
        (("Title", "Sub"), "s", 13),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "# A\n```python\n# no heading\n```\n",
        "# A\n~~~~\n```\n# no\n~~~\n# no\n~~~~\n",
        "# A\n```\n# the fence is never closed\n",
        "# A\n<!--\n# no\n-->\ntext\n",
        "# A\n    # code\n",
        "# A\n#hashtag\n####### seven\n",
        "# A\n- item\n---\nx\n",
        "# A\n\n---\n\nx\n",
        "# A\ntwo lines\nof text\n---\n",
        "# A\n`` ` ``\n",
    ],
)
def test_what_is_no_heading(text: str) -> None:
    assert headings(text) == [("A",)]


def test_fences_are_kept_as_they_are() -> None:
    code = "```python\n# a comment\nx = 1   \n\n\n```"
    (found,) = read_markdown(f"# A\r\n\r\nSee:\r\n\r\n{code}\n").sections
    assert found.text == f"See:\n\n{code}"


def test_front_matter_gives_fields_and_no_text() -> None:
    document = read_markdown('---\ntitle: "A: b"\nlist:\n  - x\nStatus: draft\n---\ntext\n')
    assert dict(document.front_matter) == {"title": "A: b", "list": "", "status": "draft"}
    assert [(each.text, each.line) for each in document.sections] == [("text", 7)]
    assert read_markdown("+++\ntitle = 'T'\n+++\n# A\n").title == "T"
    assert read_markdown("---\nnever closed\n# A\n").front_matter == {}


def test_a_heading_asks_and_its_text_answers(tmp_path: Path) -> None:
    text = section("Guide") + "## What is it?\n" + LONG + "\n## Q: Why not\n**A:** No. " + LONG
    found = rows(build(tmp_path, {"a/guide.md": text + "\n## Use\n" + LONG + "!\n"}))
    assert [row["prompt"] for row in found.values()] == [
        'Write the documentation section "Guide".',
        "What is it?",
        "Why not",
        'Write the section "Use" of the documentation "Guide".',
    ]
    row = found["a/guide.md#what-is-it"]
    assert row["response"] == LONG.rstrip() + "\n"
    assert (row["category"], row["lane"]) == ("documentation", "vox_docs_qa")
    assert row["metadata"]["doc_path"] == "a/guide.md"
    assert found["a/guide.md#use"]["response"].endswith("!\n")


def test_a_document_is_on_one_side(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        f"{i}.md": section(f"A {i}") + section(f"B {i}") for i in range(60)
    }
    built = build(tmp_path, files)
    sides = [{row["metadata"]["doc_path"] for row in side} for side in (built.train, built.heldout)]
    assert sides[0].isdisjoint(sides[1])
    assert len(sides[0]) > len(sides[1]) > 0
    assert built.report.counts["heldout_files"] == len(sides[1])


def test_archives_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "now.md": section("Now"),
        "archive/old.md": section("Old"),
        "a/Archive/b/older.md": section("Older"),
        "archive.md": section("About the archive"),
        "retired.md": "---\nstatus: deprecated\n---\n" + section("Retired"),
    }
    built = build(tmp_path, files)
    assert {name.partition("#")[0] for name in rows(built)} == {"now.md", "archive.md"}
    assert built.report.archived == 3
    assert len(built.report.notes) == 1
    everything = build(tmp_path, files, include_archive=True)
    assert len(rows(everything)) == 5
    assert everything.report.archived == 0
    inside = build_markdown_pairs(tmp_path / "docs" / "archive")
    assert len(rows(inside)) == 1, "a folder that is passed itself is asked for"


def test_golden_examples_come_first(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "a.md": section("A"),
        "examples/README.md": "The golden ones: [hello](hello.md) and `tour.md`.",
        "examples/hello.md": section("Hello"),
        "examples/other.md": section("Other"),
        "z/golden/z.md": section("Z"),
    }
    built = build(tmp_path, files)
    golden = [row["metadata"]["doc_path"] for row in built.train if row.get("golden")]
    assert golden == ["examples/hello.md", "z/golden/z.md"]
    flags = [bool(row.get("golden")) for row in built.train]
    assert flags == sorted(flags, reverse=True)
    assert False in flags
    few = build(tmp_path, files, max_rows=2)
    assert all(row["golden"] for row in few.train)


def test_legacy_text_is_left_out_or_tagged(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "a.md": section("Now"),
        "b.md": section("Serve", LONG + "\nSet VOX_EMIT_EXPRESS_SERVER=1.\n"),
    }
    rules = read_legacy_rules(SOURCE_RULES)
    built = build(tmp_path, files, legacy=LegacyFilter(rules))
    assert list(rows(built)) == ["a.md#now"]
    assert built.report.left_out[LeftOut.LEGACY] == 1
    kept = build(tmp_path, files, legacy=LegacyFilter(rules, keeps=True))
    assert rows(kept)["b.md#serve"]["legacy"] == ["express-server-flag"]
    assert "legacy" not in rows(kept)["a.md#now"]


def test_hostile_files_are_left_out_and_named(tmp_path: Path) -> None:
    outside = tree(tmp_path / "elsewhere", {"secret.md": section("Secret")})
    docs = tree(
        tmp_path / "docs",
        {
            "a.md": section("A"),
            "latin.md": "# é".encode("latin-1"),
            "nul.md": "# A\n\0" + LONG,
            "big.md": b"# A\n" + b"x" * (4 * 2**20 + 1),
            ".hidden/b.md": section("B"),
            "node_modules/c.md": section("C"),
        },
    )
    (docs / "link.md").symlink_to(outside / "secret.md")
    (docs / "folder").symlink_to(outside)
    os.mkfifo(docs / "pipe.md")
    built = build_markdown_pairs(docs)
    assert list(rows(built)) == ["a.md#a"]
    assert built.report.unreadable == ("big.md", "latin.md", "nul.md")


@pytest.mark.parametrize(
    "line",
    [
        "# " + " " * 200_000 + "x",
        "# " + "[" * 100_000 + "](",
        "# " + "{ " * 100_000,
        "`" * 200_000,
        "x" * 200_000 + "\n---",
        "- " * 100_000 + "\n===",
    ],
)
def test_no_line_takes_long_to_read(line: str) -> None:
    assert headings(f"# A\n\n{line}\n\n# B\n")[0] == ("A",)


def test_short_long_and_repeated_sections_are_counted(tmp_path: Path) -> None:
    text = section("A") + section("Short", "x") + section("Long", "y" * 8001) + section("C", LONG)
    built = build(tmp_path, {"a.md": text + section("D", LONG)})
    counts = {reason: count for reason, count in built.report.left_out.items() if count}
    assert counts == {LeftOut.TOO_SHORT: 1, LeftOut.TOO_LONG: 1, LeftOut.DUPLICATE_ANSWER: 1}


def test_the_same_documents_give_the_same_rows(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {f"{i}/x.md": section(f"S {i}") for i in range(20)}
    first = list(build(tmp_path, files).train)
    assert first == list(build(tmp_path, dict(reversed(files.items()))).train)


def test_a_folder_without_rows_is_refused(tmp_path: Path) -> None:
    for root, code in ((tmp_path / "none", "MENS-D237"), (tmp_path, "MENS-D238")):
        with pytest.raises(DataError) as caught:
            build_markdown_pairs(root)
        assert [problem.code for problem in caught.value.problems] == [code]
