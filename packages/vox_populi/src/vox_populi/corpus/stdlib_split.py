"""Which modules of a Python source tree are held out, decided only by their name.

The pre-training script of the embedded model and the corpus command both use this module, so that
neither has seen a held-out function. The top-level name decides: a package is never divided
between the two sides.
"""

from __future__ import annotations

import ast
import hashlib
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

from vox_tensor.regular_file import open_regular

HELDOUT_FRACTION = 0.12
"""Share of the top-level names that are held out."""

SKIPPED_ANYWHERE = frozenset({"__pycache__", "dist-packages", "site-packages", "test", "tests"})
"""Folders skipped at any depth: compiled files, third-party packages, tests."""

SKIPPED_AT_TOP = frozenset(
    {"encodings", "ensurepip", "idlelib", "lib2to3", "pydoc_data", "turtledemo"}
)
"""Folders skipped directly below the root: generated tables and text, applications, wheels."""

_SPREAD = 2.0**64
# Generated tables aside, no module comes near; parsing takes a hundred times the memory.
_MAX_SOURCE_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class SourceModule:
    """One Python file below a root."""

    name: str
    """Dotted name below the root; a package is its folder's name."""
    path: Path
    heldout: bool


def is_heldout_module(top_level_name: str) -> bool:
    """Whether a top-level module or package is held out.

    The first 8 bytes of the SHA-256 of the name, big-endian, as a fraction of 2**64, must be below
    `HELDOUT_FRACTION`. Neither seed nor file content matters: the answer is the same everywhere.
    """
    digest = hashlib.sha256(top_level_name.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / _SPREAD < HELDOUT_FRACTION


def stdlib_root() -> Path:
    """The folder of the running interpreter's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def iter_source_modules(root: Path) -> Iterator[SourceModule]:
    """Yield the modules below `root` that parse, sorted by path parts.

    Links are not followed. Files that cannot be read, decoded or parsed are skipped.
    """
    for module in iter_python_files(root):
        if parse_module(module.path) is not None:
            yield module


def iter_python_files(root: Path) -> Iterator[SourceModule]:
    """Yield every module below `root`, whether or not it parses, sorted by path parts."""
    found = _python_files(root, SKIPPED_ANYWHERE | SKIPPED_AT_TOP)
    for path in sorted(found, key=lambda path: path.relative_to(root).parts):
        name = _dotted_name(path.relative_to(root), root)
        yield SourceModule(name, path, is_heldout_module(name.split(".", maxsplit=1)[0]))


def read_source(path: Path) -> str | None:
    """Text of a Python file, decoded as its coding line declares; lines end with a newline.

    Returns:
        `None` for a file that cannot be read or decoded, or has more than 4 MiB.
    """
    try:
        if path.stat().st_size > _MAX_SOURCE_BYTES:
            return None
        with open_regular(path) as file:
            encoding, _ = tokenize.detect_encoding(file.readline)
            file.seek(0)
            with TextIOWrapper(file, encoding) as text:
                return text.read()
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None


def parse_module(path: Path) -> tuple[str, ast.Module] | None:
    """Source text and syntax tree of a Python file, or `None` if it has none."""
    source = read_source(path)
    tree = None if source is None else parse_source(source)
    return None if source is None or tree is None else (source, tree)


def parse_source(source: str) -> ast.Module | None:
    """Syntax tree of a Python text, or `None` if this interpreter cannot parse it."""
    try:
        with warnings.catch_warnings():
            # A foreign file's invalid escape is its author's business.
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _python_files(root: Path, skipped_at_top: frozenset[str]) -> Iterator[Path]:
    waiting = [(root, skipped_at_top)]
    while waiting:
        folder, skipped = waiting.pop()
        try:
            entries = list(folder.iterdir())
        except OSError:
            continue
        for entry in entries:
            if entry.is_symlink() or entry.name in skipped or entry.name.startswith("."):
                continue
            if entry.is_dir():
                waiting.append((entry, SKIPPED_ANYWHERE))
            elif entry.suffix == ".py" and entry.is_file():
                yield entry


def _dotted_name(relative: Path, root: Path) -> str:
    parts = relative.with_suffix("").parts
    if parts[-1] == "__init__":
        # A root that is itself a package has no folder name below it.
        parts = parts[:-1] or (root.resolve().name,)
    return ".".join(parts)
