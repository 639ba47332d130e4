"""Files are opened for reading in one place, which never waits for a pipe."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OPENERS = {
    Path("packages/vox_tensor/src/vox_tensor/regular_file.py"),
    Path("packages/vox_tensor/src/vox_tensor/atomic_file.py"),
    # These read what ships with the package, what the system gives, or what they wrote themselves.
    Path("packages/vox_populi/src/vox_populi/pipeline/machine_probe.py"),
    Path("packages/vox_populi/src/vox_populi/pipeline/runners.py"),
    Path("packages/vox_populi/src/vox_populi/hf/proven_families.py"),
    Path("packages/vox_populi/src/vox_populi/serve/chat_page.py"),
    Path("packages/vox_cli/src/vox_cli/commands/mens_init.py"),
}


def reads_of(source: str) -> list[str]:
    """Calls that open a file to read, whatever it is: a pipe would be waited for."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        name = node.func.id if isinstance(node.func, ast.Name) else name
        modes = [each.value for each in node.args if isinstance(each, ast.Constant)]
        is_read = name == "open" and any(isinstance(m, str) and set(m) <= set("rbt") for m in modes)
        if name in {"read_bytes", "read_text"} or is_read:
            found.append(f"line {node.lineno}: {name}")
    return found


def test_one_opener_reads_files() -> None:
    assert reads_of("path.open('rb')") == ["line 1: open"]
    assert reads_of("path.read_text(encoding='utf-8')") == ["line 1: read_text"]
    assert reads_of("path.open('wb'); os.open(path, flags)") == []
    sources = {path.relative_to(ROOT): path for path in ROOT.glob("packages/*/src/**/*.py")}
    inside = {name: path.read_text(encoding="utf-8") for name, path in sources.items()}
    assert len(inside) > 100
    assert inside.keys() >= OPENERS
    others = {name: reads_of(text) for name, text in inside.items() if name not in OPENERS}
    assert {name: found for name, found in others.items() if found} == {}
