"""A process of a run whose launcher is killed: it is asked to stop, and ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from vox_populi.pipeline.launch import LAUNCHER_VARIABLE, PATIENCE_VARIABLE

MOST_SECONDS = 120
WORKER = """
import os, signal, sys, threading
from vox_populi.pipeline import launcher_watch
launcher_watch.SECONDS_BETWEEN_LOOKS = 0.02
asked = threading.Event()
def ask(number, frame):
    print("asked", number, flush=True)
    asked.set()
if sys.argv[1] != "deaf":
    signal.signal(signal.SIGTERM, ask)
else:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
launcher_watch.stop_without_launcher(lambda text: print(text, flush=True))
print("ready", os.getpid(), flush=True)
while not asked.is_set():
    asked.wait(60)
print("stopped", flush=True)
"""
LAUNCHER = """
import os, subprocess, sys
if sys.argv[2] == "named":
    os.environ[sys.argv[3]] = str(os.getpid())
subprocess.run([sys.executable, "-c", sys.argv[4], sys.argv[1]])
"""


@pytest.mark.skipif(os.name != "posix", reason="a parent that is gone shows on POSIX only")
@pytest.mark.parametrize(
    ("worker", "launcher"), [("hears", "named"), ("hears", "torchrun"), ("deaf", "torchrun")]
)
def test_a_killed_launcher_leaves_no_process(worker: str, launcher: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, worker, launcher, LAUNCHER_VARIABLE, WORKER],
        stdout=subprocess.PIPE,
        text=True,
        env={
            **{name: text for name, text in os.environ.items() if name != LAUNCHER_VARIABLE},
            PATIENCE_VARIABLE: "0" if worker == "deaf" else str(MOST_SECONDS),
        },
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ready")
    process.kill()
    # The output ends when the last process that holds it has ended.
    said, _ = process.communicate(timeout=MOST_SECONDS)
    note, *rest = said.splitlines()
    assert "launcher" in note
    asked = [f"asked {signal.SIGTERM.value}", "stopped"]
    assert rest == ([] if worker == "deaf" else asked)
