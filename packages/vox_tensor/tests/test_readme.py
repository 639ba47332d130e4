from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
PART_WITH_TORCH = "## 2. With torch"


def run_examples(text: str, names: dict[str, object]) -> int:
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    for block in blocks:
        exec(block, names)
    return len(blocks)


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    monkeypatch.chdir(tmp_path)
    without, with_torch = README.read_text(encoding="utf-8").split(PART_WITH_TORCH)
    return without, with_torch


def test_examples_without_torch_run(parts: tuple[str, str]) -> None:
    assert run_examples(parts[0], {}) == 8


def test_examples_with_torch_run(parts: tuple[str, str]) -> None:
    pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    names: dict[str, object] = {}
    run_examples(parts[0], names)
    assert run_examples(parts[1], names) == 6
