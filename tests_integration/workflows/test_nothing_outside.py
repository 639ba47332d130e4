"""Real commands on the embedded base, where each once lost, moved or waited for something."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="needs POSIX file types")

SMALL = ("--max-steps", "2", "--batch-size", "1", "--seq-len", "48", "--checkpoint-every", "1")
SECONDS = 240


def vox(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and what was said on stderr."""
    command = [sys.executable, "-m", "vox_cli", "mens", *arguments, "--quiet"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    return done.returncode, done.stderr


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Rows, and a folder of somebody else."""
    rows = [{"prompt": f"Say {n}.", "response": f"{n}!"} for n in range(4)]
    (tmp_path / "data").mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "data" / "train.jsonl").write_text(text, encoding="utf-8")
    precious = tmp_path / "outside" / ".work.7.tmp"
    precious.mkdir(parents=True)
    (precious / "thesis.txt").write_text("precious", encoding="utf-8")
    (tmp_path / "outside" / ".notes.tmp").write_text("precious", encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_resume_deletes_nothing_behind_a_link_and_waits_for_no_pipe(project: Path) -> None:
    train = ("train", "--data-dir", "data", "--output-dir", "run", *SMALL)
    assert vox(project, *train)[0] == 0
    run = project / "run"
    (run / "training_manifest.json").unlink()
    kept = run / "checkpoints"
    kept.rename(run / "kept")
    kept.symlink_to("../outside")
    before = content(project)
    code, said = vox(project, *train, "--resume", "auto")
    assert (code, "MENS-E003" in said) == (5, True)
    assert content(project) == before
    kept.unlink()
    (run / "kept").rename(kept)
    telemetry = run / "telemetry.jsonl"
    telemetry.unlink()
    os.mkfifo(telemetry)
    for command in (("status", "run"), (*train, "--resume", "auto")):
        code, said = vox(project, *command)
        assert (code, "MENS-A100" in said, said.count("\n")) == (3, True, 1)


def test_force_moves_neither_the_rows_nor_the_working_folder(project: Path) -> None:
    before = content(project)
    for output, code_of_problem in (("data", "MENS-A046"), (".", "MENS-A046")):
        code, said = vox(
            project, "train", "--data-dir", "data", "--output-dir", output, "--force", *SMALL
        )
        assert (code, code_of_problem in said) == (3, True)
    notes = project / "notes"
    notes.mkdir()
    (notes / "mine").write_text("mine", encoding="utf-8")
    code, said = vox(notes, "train", "--data-dir", "../data", "--output-dir", ".", "--force")
    assert (code, "MENS-E041" in said) == (3, True)
    assert content(project) == before | {"notes/mine": b"mine"}
    assert sorted(path.name for path in project.iterdir()) == ["data", "notes", "outside"]
