"""The reference page of what the packages export, from the `__init__` files and tested examples."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HEAD = """\
# Python interface

What is listed here is public. `import vox_populi` and `import vox_tensor` load no other module;
each name is loaded when it is used.
"""
PACKAGES = {
    "vox_populi": ("The system", "python.md", 2),
    "vox_tensor": ("Primitives for a training loop of your own", "lora-in-your-own-loop.md", 2),
}
"""The title of each package, the how-to that has its example, and how many blocks of it."""
BLOCK = re.compile(r"^```python\n.*?^```$", re.MULTILINE | re.DOTALL)


def api_page() -> str:
    """The page."""
    return HEAD + "".join("\n" + "\n".join(_section(name)) + "\n" for name in PACKAGES)


def exports_of(package: str) -> Mapping[str, str]:
    """The exported names of a package and the module that has each."""
    source = ROOT / "packages" / package / "src" / package / "__init__.py"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = (node for node in checked.body if isinstance(node, ast.ImportFrom))
    return {alias.name: str(node.module) for node in imports for alias in node.names}


def _section(package: str) -> Iterator[str]:
    title, page, n_blocks = PACKAGES[package]
    text = (ROOT / "docs" / "src" / "howto" / page).read_text(encoding="utf-8")
    yield f"## {package}: {title[0].lower()}{title[1:]}"
    yield ""
    yield f"From the how-to [{text.splitlines()[0].removeprefix('# ')}](../howto/{page}):"
    for block in BLOCK.findall(text)[:n_blocks]:
        yield ""
        yield block
    # Functions first: their names are in lower case.
    for name, module in sorted(exports_of(package).items(), key=lambda e: (not e[0].islower(), e)):
        if module.partition(".")[0] == package:
            yield ""
            yield f"::: {module}.{name}"
            yield "    options:"
            yield "      heading_level: 3"
