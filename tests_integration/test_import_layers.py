"""Imports between folders go down; the drawing that shows it is made from them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def draw_imports() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(ROOT / "docs"), *sys.path])
        module: ModuleType = pytest.importorskip("draw_imports")
    return module


def test_no_arrow_points_upwards(draw_imports: ModuleType) -> None:
    arrows, order = draw_imports.arrows(), draw_imports.layers()
    assert {("vox_cli", "vox_populi.pipeline"), ("vox_populi.plan", "vox_populi.contract")} < arrows
    assert draw_imports.upward(arrows, order) == []
    planted = ("vox_populi.contract", "vox_populi.plan")
    assert draw_imports.upward({*arrows, planted}, order) == [planted]


def test_the_layers_are_all_folders_there_are(draw_imports: ModuleType) -> None:
    source = ROOT / "packages" / "vox_populi" / "src" / "vox_populi"
    folders = {f"vox_populi.{path.parent.name}" for path in source.glob("*/__init__.py")}
    drawn = {name for name in draw_imports.layers() if name.startswith("vox_populi.")}
    assert drawn == folders - {"vox_populi.vox_nano"}


def test_the_page_shows_arrows_that_imply_all_others(draw_imports: ModuleType) -> None:
    page = (ROOT / "docs" / "src" / "explanation" / "imports.md").read_text(encoding="utf-8")
    assert draw_imports.with_drawing(page) == page
    drawn = set(re.findall(r"^  (\w+) --> (\w+)$", page, re.MULTILINE))
    found = {tuple(name.replace(".", "_") for name in arrow) for arrow in draw_imports.arrows()}
    assert drawn < found
    implied = set(drawn)
    while new := {(a, d) for a, b in implied for c, d in drawn if b == c} - implied:
        implied |= new
    assert found <= implied
