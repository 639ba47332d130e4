"""Files are opened for reading in one place, which never waits for a pipe."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OPENERS = {
    Path("packages/vox_tensor/src/vox_tensor/regular_file.py"),
    Path("packages/vox_tensor/src/vox_tensor/atomic_file.py"),
    # These read what ships with the package, what the system gives, or what they wrote themselves.
    Path("packages/vox_populi/src/vox_populi/artifacts/json_schema.py"),
    Path("packages/vox_populi/src/vox_populi/pipeline/machine_probe.py"),
    Path("packages/vox_cli/src/vox_cli/commands/mens_init.py"),
    Path("packages/vox_cli/src/vox_cli/gate_plugin.py"),
    Path("packages/vox_cli/src/vox_cli/gate_session.py"),
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
    inside = [p for p in PRODUCT_FILES if p.parts[0] == "packages" and p not in OPENERS]
    assert len(inside) > 100
    assert {p: found for p in inside if (found := reads_of(text_of(p) or ""))} == {}
