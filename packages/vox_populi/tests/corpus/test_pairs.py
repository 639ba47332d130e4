from __future__ import annotations

import ast
import json
from dataclasses import replace
from pathlib import Path
from textwrap import indent

import pytest

from vox_populi.corpus.legacy_rules import SOURCE_RULES, LegacyFilter, read_legacy_rules
from vox_populi.corpus.pair_files import PairRow, write_pairs
from vox_populi.corpus.pairs import PairOptions, Rejection, build_pairs
from vox_populi.corpus.stdlib_split import is_heldout_module, stdlib_root
from vox_populi.errors import DataError

TRAIN, HELDOUT = "os", "json"
DOC = "Return what a caller wants."


def function(name: str, body: str, doc: str = DOC) -> str:
    return f'def {name}(a):\n    """{doc}"""\n' + indent(body, "    ") + "\n"


def tree(root: Path, **modules: str) -> Path:
    for name, source in modules.items():
        (root / f"{name}.py").write_text(source, encoding="utf-8")
    return root


def sources(rows: tuple[PairRow, ...]) -> list[str]:
    return [row["source"] for row in rows]


def test_a_row_asks_by_signature_and_docstring(tmp_path: Path) -> None:
    source = "class C:\n" + indent(function("f", "return a + 1", DOC + "\n\n    More."), "    ")
    result = build_pairs(tree(tmp_path, os=function("g", "return a") + source))
    assert result.train == (
        {
            "prompt": f"Write the Python function `g(a)`.\n\n{DOC}",
            "response": "def g(a):\n    return a\n",
            "category": "python_function",
            "lane": "vox_codegen",
            "source": "os:g",
        },
        {
            "prompt": f"Write the Python method `f(a)` of class `C`.\n\n{DOC}\n\nMore.",
            "response": "def f(a):\n    return a + 1\n",
            "category": "python_function",
            "lane": "vox_codegen",
            "source": "os:C.f",
        },
    )
    assert result.heldout == ()


def test_sides_follow_the_top_level_name(tmp_path: Path) -> None:
    root = tree(tmp_path, os=function("f", "return 1"), json=function("g", "return 2"))
    (root / "queue").mkdir()
    tree(root / "queue", os=function("h", "return 3", doc="It is below a held out name."))
    result = build_pairs(root)
    assert sources(result.train) == ["os:f"]
    assert sources(result.heldout) == ["json:g", "queue.os:h"]
    assert (result.report.modules, result.report.heldout_modules) == (3, 2)


@pytest.mark.parametrize(
    "in_training",
    [
        function("renamed", "return a * renamed(a - 1)", doc="Another sentence about the same."),
        "def renamed(b, a): return a * renamed(a - 1)",
        "class C:\n    def f(self, a):\n        # no docstring\n        return a * f(a - 1)",
    ],
)
def test_a_heldout_body_that_occurs_in_training_is_dropped(
    tmp_path: Path, in_training: str
) -> None:
    shown = function("g", "return 'a row of training'", doc="A fourth sentence for it.")
    leaked = function("f", "return a * f(a - 1)") + function("h", "return a", doc=DOC + " Too.")
    result = build_pairs(tree(tmp_path, json=leaked, os=shown + in_training))
    assert sources(result.heldout) == ["json:h"]
    assert result.report.rejected[Rejection.SEEN_IN_TRAINING] == 1


def test_a_heldout_prompt_that_occurs_in_training_is_dropped(tmp_path: Path) -> None:
    root = tree(tmp_path, json=function("f", "return 1"), os=function("f", "return 2"))
    result = build_pairs(root)
    assert (sources(result.train), sources(result.heldout)) == (["os:f"], [])
    assert result.report.rejected[Rejection.SEEN_IN_TRAINING] == 1


def test_duplicates_are_dropped_across_modules(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        os=function("f", "return 1") + function("g", "return 1", doc="In other words this."),
        re=function("f", "return 2") + function("k", "return 1", doc="In yet other words this."),
    )
    result = build_pairs(root)
    assert sources(result.train) == ["os:f"]
    assert result.report.rejected[Rejection.DUPLICATE_BODY] == 2
    assert result.report.rejected[Rejection.DUPLICATE_PROMPT] == 1


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(a):\n    return 1", Rejection.NO_DOCSTRING),
        (function("f", "return 1", doc="Do it."), Rejection.NO_DOCSTRING),
        (function("f", "pass"), Rejection.TRIVIAL),
        (function("f", "raise NotImplementedError"), Rejection.TRIVIAL),
        (function("f", "a = 1\n" * 50 + "return a"), Rejection.TOO_LONG),
        (function("f", f"return {'x' * 5000}"), Rejection.TOO_LONG),
        (function("f", "return 1", doc="word " * 500), Rejection.TOO_LONG),
        (function("f", "return 1", doc=DOC + "\\ud800"), Rejection.NO_CLEAN_CUT),
        (f'def f(a): "{DOC}"; return 1', Rejection.NO_CLEAN_CUT),
    ],
)
def test_functions_that_give_no_row(tmp_path: Path, source: str, reason: Rejection) -> None:
    good = function("good", "return 'good'", doc="A sentence of its own.")
    result = build_pairs(tree(tmp_path, os=good + source))
    assert sources(result.train) == ["os:good"]
    assert {r for r, count in result.report.rejected.items() if count} == {reason}


def test_odd_escapes_in_foreign_source_are_accepted(tmp_path: Path) -> None:
    (row,) = build_pairs(tree(tmp_path, os=function("f", "return '\\d'"))).train
    assert row["response"] == "def f(a):\n    return '\\d'\n"


def test_long_docstrings_keep_whole_paragraphs(tmp_path: Path) -> None:
    doc = f"{DOC}\n\n    Second.\n\n    {'word ' * 200}\n\n    Last."
    (row,) = build_pairs(tree(tmp_path, os=function("f", "return 1", doc=doc))).train
    assert row["prompt"].endswith(f"{DOC}\n\nSecond.")


def test_files_that_do_not_parse_are_named(tmp_path: Path) -> None:
    root = tree(tmp_path, os=function("f", "return 1"), bad="def f(:")
    deep = "x = " + "+".join(["1"] * 50_000)
    tree(root, deep=f'def f():\n    """{DOC}"""\n    {deep}')
    report = build_pairs(root).report
    assert report.unparsable == ("bad.py", "deep.py")
    assert json.loads(json.dumps(report.as_json()))["unparsable"] == ["bad.py", "deep.py"]


def test_nothing_to_make_rows_of_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="MENS-D060"):
        build_pairs(tmp_path / "nowhere")
    with pytest.raises(DataError, match="MENS-D061"):
        build_pairs(tmp_path)
    with pytest.raises(DataError, match=r"MENS-D061.*2 Python files.*1 of them cannot"):
        build_pairs(tree(tmp_path, os="x = 1", bad="def f(:"))


def test_max_rows_picks_the_same_rows_from_all_over(tmp_path: Path) -> None:
    modules = {
        f"m{i}": function("f", f"return {i}", doc=f"Sentence number {i} of it.") for i in range(60)
    }
    root = tree(tmp_path, **modules)
    every = build_pairs(root)
    some = build_pairs(root, PairOptions(max_rows=10, max_heldout_rows=2))
    assert (len(some.train), len(some.heldout)) == (10, 2)
    assert set(sources(some.train)) < set(sources(every.train))
    assert sources(some.train) == sorted(sources(some.train), key=sources(every.train).index)
    assert sources(some.train) != sources(every.train)[:10]
    dropped = len(every.train) + len(every.heldout) - 12
    assert some.report.rejected[Rejection.BEYOND_MAX_ROWS] == dropped


@pytest.mark.any_install
def test_standard_library_rows_parse_and_differ_and_sides_are_apart() -> None:
    result = build_pairs(stdlib_root())
    rows = (*result.train, *result.heldout)
    assert len(result.train) > 1000
    assert len(result.heldout) > 100
    for row in rows:
        (node,) = ast.parse(row["response"]).body
        assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        assert f"`{node.name}(" in row["prompt"]
    assert len({row["prompt"] for row in rows}) == len(rows)
    assert len({row["response"] for row in rows}) == len(rows)
    top_levels = [row["source"].split(":")[0].split(".")[0] for row in rows]
    assert not any(map(is_heldout_module, top_levels[: len(result.train)]))
    assert all(map(is_heldout_module, top_levels[len(result.train) :]))


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    root = tmp_path / "src"
    root.mkdir()
    tree(root, os=function("f", "return 'é\\u2028'"), json=function("g", "return 2"))
    for out in ("a", "b"):
        paths = write_pairs(build_pairs(root), tmp_path / out)
        assert [path.name for path in paths] == ["train.jsonl", "valid.jsonl"]
    for name in ("train.jsonl", "valid.jsonl"):
        first = (tmp_path / "a" / name).read_bytes()
        assert first == (tmp_path / "b" / name).read_bytes()
        assert json.loads(first)["source"] in ("os:f", "json:g")


def test_writing_again_is_fine_but_other_files_are_left_alone(tmp_path: Path) -> None:
    root = tmp_path / "src"
    root.mkdir()
    out = tmp_path / "out"
    result = build_pairs(tree(root, os=function("f", "return 1"), json=function("g", "return 2")))
    write_pairs(result, out)
    write_pairs(result, out)
    fewer = replace(result, heldout=())
    with pytest.raises(DataError, match=r"MENS-D062.*valid\.jsonl"):
        write_pairs(fewer, out)
    (out / "train.jsonl").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match=r"MENS-D062.*train\.jsonl"):
        write_pairs(result, out)
    assert (out / "train.jsonl").read_text(encoding="utf-8") == "mine"
    assert write_pairs(fewer, out, force=True) == (out / "train.jsonl",)
    assert [path.name for path in out.iterdir()] == ["train.jsonl"]


def test_archives_are_left_out_and_golden_examples_come_first(tmp_path: Path) -> None:
    for name in ("archive", "golden", "plain"):
        (tmp_path / name).mkdir()
        tree(
            tmp_path / name, m=function(name, f"return '{name}'", doc=f"Return {name} to callers.")
        )
    result = build_pairs(tmp_path)
    names = [row["source"] for row in (*result.train, *result.heldout)]
    assert not any("archive" in name for name in names)
    assert result.report.archived == 1
    assert result.report.golden_rows == 1
    some = build_pairs(tmp_path, PairOptions(max_rows=1, include_archive=True))
    assert [row.get("golden") for row in some.train] == [True]
    assert some.report.modules == 3


def test_legacy_functions_are_left_out_or_tagged(tmp_path: Path) -> None:
    old = function("serve", "flag = 'VOX_EMIT_EXPRESS_SERVER=1'\nreturn flag")
    root = tree(tmp_path, os=function("f", "return 1", doc="Return one to a caller.") + old)
    rules = read_legacy_rules(SOURCE_RULES)
    result = build_pairs(root, PairOptions(legacy=LegacyFilter(rules)))
    assert sources(result.train) == ["os:f"]
    assert result.report.rejected[Rejection.LEGACY] == 1
    assert len(result.report.notes) == 1
    kept = build_pairs(root, PairOptions(legacy=LegacyFilter(rules, keeps=True))).train
    assert [row.get("legacy") for row in kept] == [None, ["express-server-flag"]]
