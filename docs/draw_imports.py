"""Draw which folder imports from which, from the real imports, top layer first.

The order is that of the import contract "The pipeline flows one way" in `pyproject.toml`. Modules
outside a folder of `vox_populi` (errors, events) are left out: every folder may import them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import grimp

ROOT = Path(__file__).resolve().parents[1]
START, END = "<!-- imports: docs/draw_imports.py -->", "<!-- /imports -->"
Arrow = tuple[str, str]


def layers() -> tuple[str, ...]:
    """Every folder and package, the one that nothing imports first; siblings side by side."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts: list[dict[str, Any]] = project["tool"]["importlinter"]["contracts"]
    (names,) = (each["layers"] for each in contracts if each.get("containers") == ["vox_populi"])
    source = ROOT / "packages" / "vox_populi" / "src" / "vox_populi"
    folders = (name.strip() for layer in names for name in layer.split("|"))
    within = (f"vox_populi.{name}" for name in folders if (source / name).is_dir())
    return ("vox_cli.commands", "vox_cli", *within, "vox_tensor")


def arrows() -> frozenset[Arrow]:
    """Pairs of a folder that imports and the folder that it imports from.

    What `__init__` of a package exports under `TYPE_CHECKING` is imported when it is used.
    """
    graph = grimp.build_graph(
        *("vox_tensor", "vox_populi", "vox_cli"),
        exclude_type_checking_imports=True,
        cache_dir=None,
    )
    known = layers()
    found = {
        (_folder(importer, known), _folder(imported, known))
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    }
    return frozenset((a, b) for a, b in found if a and b and a != b)


def _folder(module: str, known: Iterable[str]) -> str:
    """The innermost folder that holds a module, or nothing for a module outside of all."""
    holders = [name for name in known if f"{module}.".startswith(f"{name}.")]
    return max(holders, key=len, default="")


def upward(found: Iterable[Arrow], order: tuple[str, ...]) -> list[Arrow]:
    """The arrows from a layer to one above it."""
    return sorted(arrow for arrow in found if order.index(arrow[0]) > order.index(arrow[1]))


def drawing() -> str:
    """The graph as Mermaid: an arrow that follows from two others is not drawn."""
    order, found = layers(), arrows()
    reached = _reachable(found, order)
    drawn = [
        (a, b)
        for a, b in sorted(found, key=lambda arrow: tuple(map(order.index, arrow)))
        if not any(b in reached[other] for importer, other in found if importer == a)
    ]
    lines = ["```mermaid", "flowchart TD"]
    for package in ("vox_cli", "vox_populi", "vox_tensor"):
        lines.append(f"  subgraph package_{package} [{package}]")
        inside = [name for name in order if name.partition(".")[0] == package]
        lines += [f"    {_node(name)}[{name.rpartition('.')[2]}]" for name in inside]
        lines.append("  end")
    lines += [f"  {_node(importer)} --> {_node(imported)}" for importer, imported in drawn]
    return "\n".join([*lines, "```"])


def _node(name: str) -> str:
    return name.replace(".", "_")


def _reachable(found: Iterable[Arrow], order: tuple[str, ...]) -> Mapping[str, set[str]]:
    """What each folder imports, directly or through others; arrows point down."""
    reached: dict[str, set[str]] = {}
    for name in reversed(order):
        direct = {imported for importer, imported in found if importer == name}
        reached[name] = direct.union(*(reached.get(other, set()) for other in direct))
    return reached


def with_drawing(page: str) -> str:
    """A page with the drawing of today between its marks."""
    before, _, rest = page.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n\n{drawing()}\n\n{END}{after}"
