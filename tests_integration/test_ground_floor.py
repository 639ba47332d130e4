"""Files and tensors are opened, written, published and read in one place of the source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

GROUND_FLOOR = {
    r"\.strerror or\b": ("vox_tensor/errors.py",),
    r"\bO_EXCL\b": ("vox_tensor/atomic_file.py", "vox_populi/files/new_file.py"),
    r"\bfile_not_written\(": (
        "vox_populi/operator_messages/environment.py",
        "vox_populi/files/whole_file.py",
        "vox_populi/files/folder_lock.py",
        "vox_populi/quantize/nf4_cache.py",
        "vox_populi/runs/run_dir.py",
        "vox_populi/runs/checkpoint_dir.py",
        "vox_cli/commands/ci_mens_gate.py",
    ),
    r"\bfree_name\(": ("vox_populi/files/removal.py", "vox_populi/pipeline/resume.py"),
    r"\bflock\(": ("vox_tensor/atomic_file.py", "vox_populi/files/folder_lock.py"),
    r"\bNotRegularFileError\b": (
        "vox_tensor/regular_file.py",
        "vox_populi/files",
        "vox_populi/runs/telemetry.py",
        "vox_cli/config_file.py",
        "vox_cli/prompt_source.py",
    ),
    r'"(F32|BF16)": (torch\.|32|16|4|2|"float)': (
        "vox_populi/containers/dtypes.py",
        "vox_populi/containers/torch_dtypes.py",
    ),
    r"\bfrombuffer\(": (
        "vox_populi/containers/mxfp4_reader.py",
        "vox_populi/containers/tensor_reader.py",
        "vox_populi/quantize/nf4_folder.py",
        "vox_tensor",
    ),
    r"\baminmax\(": ("vox_populi/containers/tensor_reader.py",),
    r"\bget_close_matches\(": ("vox_populi/containers/tensor_comparison.py",),
}
"""What only the ground floor does, by pattern, and where."""


@pytest.mark.parametrize("pattern", GROUND_FLOOR)
def test_the_ground_floor_alone_opens_writes_publishes_and_reads_tensors(pattern: str) -> None:
    homes = GROUND_FLOOR[pattern]
    sources = {
        path.relative_to(ROOT).as_posix().partition("/src/")[2]: path.read_text("utf-8")
        for path in ROOT.glob("packages/*/src/**/*.py")
    }
    found = {name for name, text in sources.items() if re.search(pattern, text)}
    assert found, "the pattern finds nothing, so it keeps nothing"
    assert {name for name in found if not name.startswith(homes)} == set()
