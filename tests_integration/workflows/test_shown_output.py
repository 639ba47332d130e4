"""Pages that show output show what is printed: `docs/record_output.py` runs their commands."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "docs" / "record_output.py"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="runs commands in forked processes")


@pytest.fixture(scope="module")
def recorder() -> ModuleType:
    pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    spec = importlib.util.spec_from_file_location("record_output", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_every_page_shows_what_its_commands_print() -> None:
    pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--check"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_page_with_output_is_recorded(recorder: ModuleType) -> None:
    recorded = {page for pages in recorder.SESSIONS for page in pages}
    for page in (ROOT / "README.md", *(ROOT / "docs" / "src").rglob("*.md")):
        blocks = recorder.shell_blocks(page.read_text(encoding="utf-8"))
        if any(block.span is not None for block in blocks):
            assert page.relative_to(ROOT).as_posix() in recorded


def test_no_page_shows_an_answer_that_is_blank(recorder: ModuleType) -> None:
    pages = [(ROOT / name).read_text("utf-8") for pages in recorder.SESSIONS for name in pages]
    blocks = [block for page in pages for block in recorder.shell_blocks(page) if block.span]
    answers = [block.output.strip() for block in blocks if "vox mens generate" in block.commands]
    assert len(answers) >= 3
    assert all(answers)


def test_numbers_digests_and_widths_may_differ_and_words_may_not(recorder: ModuleType) -> None:
    shown = ["loss    1.25 -> 2,000.5 (-3 %)", "file    a.bin"]
    assert recorder.is_shown(["loss  7 -> 8 (+4e-05 %)", "file  a.bin"], shown)
    assert not recorder.is_shown(["loss  7 -> 8 (+4 %)", "file  b.bin"], shown)
    assert not recorder.is_shown(["loss  7 -> 8 (+4 %)"], shown)
    assert recorder.is_shown(["sha " + "0a" * 32], ["sha " + "b1" * 32])


def test_lines_may_be_left_out_where_the_page_says_so(recorder: ModuleType) -> None:
    assert recorder.is_shown(["a", "b", "c", "d"], ["a", "…", "d"])
    assert recorder.is_shown(["a", "d"], ["a", "…", "d"])
    assert not recorder.is_shown(["b", "c", "d"], ["a", "…", "d"])
    assert recorder.with_gaps(["1", "2", "3", "4"], ["a", "…", "d"]) == ["1", "…", "4"]
    assert recorder.with_gaps(["1", "2"], ["a"]) == ["1", "2"]


def test_output_belongs_to_the_shell_block_before_it(recorder: ModuleType) -> None:
    page = "```bash\nvox a\n```\n\n```text\nout\n```\n```bash\nvox b\n```\nThen\n```text\nx\n```\n"
    first, second = recorder.shell_blocks(page)
    assert (first.commands, first.output, first.line) == ("vox a\n", "out\n", 1)
    assert page[slice(*first.span)] == "out\n"
    assert second.span is None
