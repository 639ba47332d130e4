"""`vox mens train --nproc`: real processes, one of which is killed; one process ends the run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from packages.vox_populi.tests.pipeline.conftest import LLAMA, ROWS, write_safetensors
from vox_cli.app import run
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import parse_model_config
from vox_tensor.tokenizer import VoxTokenizer

SECONDS_TO_END = 30
SECONDS_TO_BEGIN = 120


@pytest.fixture
def settings(tmp_path: Path) -> list[str]:
    """A command line of a few hundred short steps."""
    base, data = tmp_path / "base", tmp_path / "data"
    base.mkdir()
    data.mkdir()
    (base / "config.json").write_text(json.dumps(LLAMA), encoding="utf-8")
    keys = tensor_keys(parse_model_config(LLAMA, "config.json"))
    write_safetensors(base / "model.safetensors", keys, random.Random(1))
    VoxTokenizer().save(base / "tokenizer.json")
    text = "".join(json.dumps(row) + "\n" for row in ROWS)
    (data / "train.jsonl").write_text(text, encoding="utf-8")
    return [
        *("mens", "train", "--model", str(base), "--data-dir", str(data), "--device", "cpu"),
        *("--epochs", "60", "--batch-size", "1", "--grad-accum", "4", "--micro-batches", "2"),
        *("--rank", "2", "--dropout", "0.2", "--threads", "1", "--seq-len", "64"),
        *("--checkpoint-every", "3", "--validation-split-ratio", "0.2", "--quiet"),
    ]


def worker(launcher: int, rank: int) -> int | None:
    """The process of a rank, once it is there."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_bytes().decode()
    for child in children.split():
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        if f"RANK={rank}".encode() in variables:
            return int(child)
    return None


def wait_for_checkpoint(process: subprocess.Popen[str], folder: Path) -> None:
    end = time.monotonic() + SECONDS_TO_BEGIN
    while not list(folder.glob("checkpoints/step-*/state.json")):
        assert time.monotonic() < end
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
            pytest.fail(f"it ended: {process.communicate()}")


@pytest.mark.slow
@pytest.mark.requirement("tier-c")
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc")
def test_a_killed_process_ends_all_and_the_run_goes_on(tmp_path: Path, settings: list[str]) -> None:
    pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    assert run([*settings, "--output-dir", str(whole)]) == 0
    command = [*settings, "--output-dir", str(shared)]
    process = subprocess.Popen(
        [sys.executable, "-m", "vox_cli", *command, "--nproc", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for_checkpoint(process, shared)
        killed = worker(process.pid, 1)
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        _, said = process.communicate(timeout=SECONDS_TO_END)
    finally:
        process.kill()
    assert process.returncode == 137
    assert "MENS-R201" in said
    assert "SIGKILL" in said
    assert not (shared / "model_final.bin").exists()
    assert run([*command, "--resume", "auto"]) == 0
    ours = (shared / "model_final.bin").read_bytes()
    assert ours == (whole / "model_final.bin").read_bytes()
