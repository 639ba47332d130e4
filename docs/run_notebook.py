"""Run the cells of the notebook in order, as one program, and write what they print into it.

`--check` writes nothing and fails when a cell prints something else than it shows; numbers may
differ, as on pages. No notebook software is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from record_output import ENVIRONMENT, is_shown

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "notebooks" / "first_adapter.ipynb"
BORDER = "=== cell ==="


def printed(sources: list[str], folder: Path) -> list[list[str]]:
    """The lines that each cell prints, run in a folder.

    Raises:
        RuntimeError: When a cell fails, with its traceback.
    """
    program = "".join(f"print({BORDER!r}, flush=True)\n{source}\n" for source in sources)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VOX_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**environment, **ENVIRONMENT},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    _, *outputs = done.stdout.split(f"{BORDER}\n")
    return [output.splitlines() for output in outputs]


def main() -> int:
    """Record, or check."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; fail on a difference")
    check = parser.parse_args().check
    notebook: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    with tempfile.TemporaryDirectory() as folder:
        outputs = printed(["".join(cell["source"]) for cell in cells], Path(folder))
    stale = 0
    for number, (cell, lines) in enumerate(zip(cells, outputs, strict=True), start=1):
        shown = "".join(text for each in cell["outputs"] for text in each["text"]).splitlines()
        if is_shown(lines, shown):
            continue
        stale += 1
        sys.stderr.write(f"{NOTEBOOK.name}: cell {number} prints\n" + "\n".join(lines) + "\n")
        text = [f"{line}\n" for line in lines]
        stream = {"name": "stdout", "output_type": "stream", "text": text}
        cell["execution_count"], cell["outputs"] = number, [stream] if text else []
    if not check:
        document = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        NOTEBOOK.write_text(document, encoding="utf-8", newline="\n")
    return 1 if stale and check else 0


if __name__ == "__main__":
    raise SystemExit(main())
