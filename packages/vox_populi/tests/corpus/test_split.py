from __future__ import annotations

import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vox_populi.corpus.row_groups import RowGroups
from vox_populi.corpus.split import SplitRatio, SplitReport, SplitRequest, split_corpus
from vox_populi.data.dataset import OnBadRow
from vox_populi.errors import ConfigError, DataError, PreflightError

Row = dict[str, Any]


def row(prompt: str, answer: str = "a", **fields: object) -> Row:
    return {"prompt": prompt, "response": answer, **fields}


def split(folder: Path, rows: list[Row] | str, **fields: Any) -> dict[str, list[Row]]:
    """The rows of each side."""
    report = split_report(folder, rows, **fields)
    return {side: lines(found.path) for side, found in report.sides.items()}


def split_report(folder: Path, rows: list[Row] | str, **fields: Any) -> SplitReport:
    file = folder / "rows.jsonl"
    text = rows if isinstance(rows, str) else "".join(json.dumps(each) + "\n" for each in rows)
    file.write_text(text, encoding="utf-8")
    names = {"train": folder / "t.jsonl", "valid": folder / "v.jsonl", **fields}
    return split_corpus(SplitRequest(file=file, force=True, **names))


def lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def side_of(sides: dict[str, list[Row]], key: str) -> dict[object, set[str]]:
    found = defaultdict(set)
    for side, rows in sides.items():
        for each in rows:
            found[each.get(key)].add(side)
    return found


def test_rows_that_share_a_prompt_or_a_group_are_on_one_side(tmp_path: Path) -> None:
    draw = random.Random(7)
    rows = [row(f"p{draw.randrange(500)}", f"a{i}") for i in range(600)]
    rows += [row(f"q{i}", doc=f"d{i // 3}") for i in range(600)]
    sides = split(tmp_path, rows, group_by="doc", test=tmp_path / "x.jsonl")
    assert sorted(map(len, sides.values()))[0] > 60
    assert sum(map(len, sides.values())) == len(rows)
    docs = side_of(sides, "doc")
    assert len(docs.pop(None)) == 3
    assert all(len(found) == 1 for found in docs.values())
    assert all(len(found) == 1 for found in side_of(sides, "prompt").values())


def test_a_prompt_links_two_groups(tmp_path: Path) -> None:
    rows = [row(f"p{i}", doc=i) for i in range(200)]
    apart = side_of(split(tmp_path, rows, group_by="doc", ratio=SplitRatio((1, 1))), "doc")
    one = next(doc for doc, side in apart.items() if side == {"train"})
    other = next(doc for doc, side in apart.items() if side == {"valid"})
    links = [row("the same", "1", doc=one), row("the same", "2", doc=other)]
    joined = side_of(
        split(tmp_path, [*rows, *links], group_by="doc", ratio=SplitRatio((1, 1))), "doc"
    )
    assert joined[one] == joined[other]
    assert len(joined[one]) == 1


def test_the_order_of_the_rows_does_not_matter(tmp_path: Path) -> None:
    draw = random.Random(3)
    rows = [row(f"p{i // 4}{draw.randrange(3)}", doc=i // 4, source=i % 3) for i in range(240)]
    mixed = draw.sample(rows, len(rows))
    for options in ({}, {"group_by": "doc"}, {"stratify_by": "source"}):
        prompts = [
            side_of(split(tmp_path, each, seed=2, **options), "prompt") for each in (rows, mixed)
        ]
        assert prompts[0] == prompts[1]


def test_other_rows_and_another_file_move_no_group(tmp_path: Path) -> None:
    rows = [row(f"p{i}", doc=f"d{i // 5}") for i in range(300)]
    more = [row(f"more{i}", doc=f"d{i // 5}") for i in range(900)]
    before = side_of(split(tmp_path, rows, group_by="doc"), "doc")
    after = side_of(split(tmp_path, more + rows, group_by="doc"), "doc")
    assert before == {doc: after[doc] for doc in before}
    assert side_of(split(tmp_path, rows, group_by="doc", seed=43), "doc") != before


def test_the_sides_are_those_of_every_python(tmp_path: Path) -> None:
    # Computed once: a hash that changes with the version or the process would change these.
    sides = split(tmp_path, [row(f"p{i}") for i in range(12)], ratio=SplitRatio((1, 1)))
    assert [each["prompt"] for each in sides["valid"]] == ["p0", "p1", "p3", "p5", "p7"]


def test_strata_meet_the_shares_by_rows(tmp_path: Path) -> None:
    rows = [row(f"p{i}", source="rare" if i % 50 == 0 else "common") for i in range(1000)]
    sides = split(tmp_path, rows, stratify_by="source")
    rare = {side: sum(each["source"] == "rare" for each in found) for side, found in sides.items()}
    assert rare == {"train": 18, "valid": 2}
    assert len(sides["valid"]) == 100


def test_shares_are_met_by_chance(tmp_path: Path) -> None:
    rows = [row(f"p{i}") for i in range(4000)]
    report = split_report(tmp_path, rows, ratio=SplitRatio((60, 30, 10)), test=tmp_path / "x.jsonl")
    counts = [side.rows for side in report.sides.values()]
    expected = [2400, 1200, 400]
    assert all(abs(a - b) < 120 for a, b in zip(counts, expected, strict=True))
    assert sum(counts) == 4000
    assert report.as_json()["ratio"] == [0.6, 0.3, 0.1]


def test_rows_are_written_as_they_are_and_in_their_order(tmp_path: Path) -> None:
    rows = [row(f"p{i}", "é\u2028", extra={"b": [1, 2.5], "a": None}) for i in range(40)]
    sides = split(tmp_path, rows)
    assert sorted(sides["train"] + sides["valid"], key=rows.index) == rows
    assert sides["train"] == sorted(sides["train"], key=rows.index)


def test_conversations_with_one_question_are_one_group(tmp_path: Path) -> None:
    def talk(question: str, answer: str) -> Row:
        turns = [("user", question), ("assistant", answer), ("user", "and?"), ("assistant", "b")]
        return {"messages": [{"role": role, "content": text} for role, text in turns]}

    rows = [talk(f"q{i % 30}", f"a{i}") for i in range(90)]
    sides = split(tmp_path, rows, ratio=SplitRatio((1, 1)))
    first = {
        side: {each["messages"][0]["content"] for each in found} for side, found in sides.items()
    }
    assert first["train"].isdisjoint(first["valid"])


def test_a_bad_row_is_refused_or_left_out(tmp_path: Path) -> None:
    text = "".join(json.dumps(row(f"p{i}")) + "\n" for i in range(40)) + "no\n"
    with pytest.raises(DataError) as caught:
        split(tmp_path, text)
    assert [each.where for each in caught.value.problems] == [f"{tmp_path}/rows.jsonl:41"]
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
    report = split_report(tmp_path, text, on_bad_row=OnBadRow.SKIP)
    assert (report.rows, report.skipped, len(report.notes)) == (40, 1, 1)


def test_an_empty_side_is_refused(tmp_path: Path) -> None:
    rows = [row(f"p{i}", doc="the only one") for i in range(50)]
    with pytest.raises(DataError) as caught:
        split(tmp_path, rows, group_by="doc")
    assert caught.value.problems[0].code == "MENS-D233"
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_outputs_are_new_and_apart(tmp_path: Path) -> None:
    rows = [row(f"p{i}") for i in range(40)]
    split(tmp_path, rows)
    file, train, valid = (tmp_path / name for name in ("rows.jsonl", "t.jsonl", "v.jsonl"))
    again = SplitRequest(file=file, train=train, valid=valid)
    split_corpus(again)  # the same content
    before = train.read_bytes()
    with pytest.raises(DataError) as caught:
        split_corpus(SplitRequest(file=file, train=train, valid=valid, seed=1))
    assert {each.code for each in caught.value.problems} == {"MENS-D230"}
    assert train.read_bytes() == before
    link = tmp_path / "link.jsonl"
    link.hardlink_to(file)
    for path in (file, link):
        with pytest.raises(PreflightError):
            split_corpus(SplitRequest(file=file, train=train, valid=path, force=True))
    with pytest.raises(DataError) as caught:
        split_corpus(SplitRequest(file=file, train=train, valid=train, force=True))
    assert caught.value.problems[0].code == "MENS-D231"
    assert {path.name for path in tmp_path.iterdir()} == {
        *("rows.jsonl", "t.jsonl", "v.jsonl", "link.jsonl")
    }


def test_the_ratio_has_a_part_for_each_side(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        split(tmp_path, [row("p")], ratio=SplitRatio((1, 1, 1)))
    assert caught.value.problems[0].code == "MENS-D232"


@given(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=3), max_size=40), st.randoms())
def test_groups_are_the_connected_keys(joins: list[list[int]], draw: Any) -> None:
    def partition(order: list[list[int]]) -> set[frozenset[int]]:
        groups, nodes = RowGroups(), {}
        for keys in order:
            for key in keys:
                nodes[key + 1] = groups.join([key + 1])
            groups.join([key + 1 for key in keys])
        found = defaultdict(set)
        for key, node in nodes.items():
            found[groups.name(groups.group_of(node))].add(key)
        assert all(name == min(keys) for name, keys in found.items())
        return {frozenset(keys) for keys in found.values()}

    expected: list[set[int]] = []
    for keys in joins:
        merged = {key + 1 for key in keys}
        apart = [group for group in expected if not group & merged]
        for group in expected:
            merged |= group if group & merged else set()
        expected = [*apart, merged]
    assert partition(joins) == {frozenset(group) for group in expected}
    assert partition(draw.sample(joins, len(joins))) == partition(joins)
