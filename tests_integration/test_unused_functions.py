"""The sources hold no public function that only tests call, apart from those that a page lists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

from vox_cli.command_table import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
SOURCES = tuple(sorted(ROOT.glob("packages/*/src/**/*.py")))
SCRIPTS = tuple(
    path for name in ("bench", "demo", "pretrain") for path in ROOT.glob(f"{name}/*.py")
)
GATE = tuple(ROOT.glob("tests_integration/gate/*.py"))
PAGES = (*ROOT.glob("docs/src/*/*.md"), *ROOT.glob("packages/*/README.md"), ROOT / "README.md")
PAGE = ROOT / "docs" / "src" / "reference" / "source-functions.md"
CALLED_BY_OTHERS = {
    *("forward", "backward"),  # by torch
    *("readable", "readinto"),  # by io
    *("capture_signals", "on_tick", "connection_made", "connection_lost"),  # by uvicorn
    "stream_response",  # by starlette
    *("tokenizer_name", "loglikelihood_rolling", "generate_until"),  # by lm_eval
    *("format_options", "format_commands"),  # by typer
    "visit_Concat",  # by jinja2
    *(entry.function for entry in COMMANDS),  # by their names in the table
}


def defined(tree: ast.Module) -> Iterator[str]:
    """Public functions and classes of a module, and the public methods of its classes."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    for node in tree.body:
        members = node.body if isinstance(node, ast.ClassDef) else []
        for each in (node, *members):
            if isinstance(each, kinds) and not each.name.startswith("_"):
                yield each.name


def used(tree: ast.Module) -> Iterator[str]:
    """Every name that a module reads, also as text: `getattr` and lazy exports go by text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def unused(sources: Iterable[str], others: Iterable[str] = ()) -> set[str]:
    """Public names of the sources that neither they nor other programs use."""
    trees = [ast.parse(text) for text in sources]
    everywhere = [*trees, *(ast.parse(text) for text in others)]
    names = {name for tree in trees for name in defined(tree)}
    return names - {name for tree in everywhere for name in used(tree)} - CALLED_BY_OTHERS


def texts(paths: Iterable[Path]) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in paths]


def listed() -> dict[str, tuple[str, str]]:
    """Function -> module and file of tests, as the page has them."""
    rows = re.findall(r"^\| `(\w+)` \| `([\w.]+)` \| .+ \| `([\w./]+)` \|$", texts([PAGE])[0], re.M)
    return {name: (module, tests) for name, module, tests in rows}


def test_the_search_for_unused_functions_sees_and_lets_pass() -> None:
    assert unused(["def lonely(): ...\n\nclass Lonely:\n    def method(self): ..."]) == {
        *("lonely", "Lonely", "method")
    }
    assert unused(["def f(): ...\n\ng = f()", "class A(B): ...\n\nx = [A]"]) == set()
    assert unused(["def f(): ..."], ["from a import f\n\nf()"]) == set()
    assert unused(["def _inner(): ..."]) == set()


def test_no_public_function_is_for_tests_alone() -> None:
    examples = [
        block
        for text in texts(path for path in PAGES if path.is_file())
        for block in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    ]
    found = unused(texts(SOURCES), [*texts(SCRIPTS), *examples])
    assert len(SOURCES) > 200
    assert found <= set(listed())


@pytest.mark.parametrize("name", listed())
def test_a_listed_function_exists_and_is_tested(name: str) -> None:
    module, tests = listed()[name]
    loaded = import_module(module)
    assert hasattr(loaded, name) or any(hasattr(each, name) for each in vars(loaded).values())
    assert re.search(rf"\b{name}\b", (ROOT / tests).read_text(encoding="utf-8"))
