"""Python that pages show runs as it stands, in the folder that `vox mens init` makes."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

import vox_populi
from tests_integration.fresh_installs import completed
from vox_cli.app import run

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"README.md": 1, "packages/vox_populi/README.md": 1, "docs/src/howto/python.md": 8}


@pytest.mark.slow
@pytest.mark.parametrize(("page", "n_blocks"), PAGES.items(), ids=PAGES.keys())
def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, n_blocks: int
) -> None:
    pytest.importorskip("torch", reason="needs vox-populi[mens-gpu]")
    monkeypatch.chdir(tmp_path)
    assert run(["mens", "init", "first"]) == 0
    monkeypatch.chdir("first")
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)
    assert len(blocks) == n_blocks
    report: vox_populi.TrainReport = names["report"]
    assert report.heldout_loss_before is not None
    assert report.heldout_loss_after is not None
    assert report.heldout_loss_after < report.heldout_loss_before - 1


@pytest.mark.slow
def test_the_notebook_prints_what_it_shows() -> None:
    pytest.importorskip("torch", reason="needs vox-populi[mens-gpu]")
    done = completed([sys.executable, "docs/run_notebook.py", "--check"])
    assert done.returncode == 0, done.stderr
