"""A family is a file: nothing else in the packages asks which family a model is of."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from vox_populi.hf.family_registry import FAMILIES

ROOT = Path(__file__).resolve().parents[1]
FAMILIES_HOME = ROOT / "packages/vox_populi/src/vox_populi/hf/families"
REGISTRY = FAMILIES_HOME.with_name("family_registry.py")
SOURCES = tuple(sorted((ROOT / "packages").glob("*/src/**/*.py")))


def family_questions(source: str) -> list[str]:
    """Every comparison of a family, and every import of one family's file."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            modules = []
        if any(re.match(r"vox_populi\.hf\.families\b", module) for module in modules):
            found.append(ast.unparse(node))
        if isinstance(node, ast.Compare):
            asked = [node.left, *node.comparators]
        else:
            asked = [node.subject] if isinstance(node, ast.Match) else []
        about_none = any(isinstance(each, ast.Constant) and each.value is None for each in asked)
        texts = [ast.unparse(each) for each in asked]
        if not about_none and any(re.search(r"\bfamily(\.name|\.label)?$", t) for t in texts):
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    "planted",
    [
        "if config.family is Family.GPT2: pass",
        "if config.family.name == 'gpt2': pass",
        "wide = 'qwen3' != family.name",
        "match config.family.name:\n    case 'gpt2': pass",
        "from vox_populi.hf.families import gpt2",
        "from vox_populi.hf.families.gpt2 import FAMILY",
        "import vox_populi.hf.families.gpt2 as g",
    ],
)
def test_the_search_for_questions_about_a_family_sees(planted: str) -> None:
    assert family_questions(planted)


@pytest.mark.parametrize(
    "harmless", ["if family is None: pass", "wide = config.family.norm == 'rms'", "f(family)"]
)
def test_the_search_for_questions_about_a_family_lets_pass(harmless: str) -> None:
    assert family_questions(harmless) == []


def test_only_the_registry_names_a_family() -> None:
    outside = [path for path in SOURCES if path.parent != FAMILIES_HOME]
    assert len(outside) > 200, "the walk must have found the sources"
    asking = {path for path in outside if family_questions(path.read_text(encoding="utf-8"))}
    assert asking == {REGISTRY}


def test_every_file_of_a_family_is_in_the_registry() -> None:
    files = {path.stem for path in FAMILIES_HOME.glob("*.py")} - {"__init__"}
    # Gemma 3's text has a model_type of its own: the folder with pictures has the plain name.
    assert files == {family.name.removesuffix("_text") for family in FAMILIES}
    names = [name for family in FAMILIES for name in (family.name, *family.other_names)]
    assert len(names) == len(set(names)), "no model_type may mean two families"


def test_rows_are_only_paired_where_queries_and_keys_have_matrices_of_their_own() -> None:
    paired = [family for family in FAMILIES if family.gguf.paired_rotation]
    assert paired
    assert all({"attn.q", "attn.k"} <= family.tensors.block.keys() for family in paired)
