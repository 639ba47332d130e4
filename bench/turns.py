"""Two commands in turns of half a second, so that a machine whose speed drifts slows both alike.

    python bench/turns.py --in OLD_FOLDER --in NEW_FOLDER -- COMMAND...   (run in each folder)

One of the two is always stopped by a signal. Printed are the seconds in which each could run, its
CPU seconds with those of the processes it started, and the ratio of the second to the first. What
starts a session of its own goes on while the others are stopped, such as the processes that encode
a large file of rows. Linux and macOS.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS_BETWEEN_LOOKS = 0.005


@dataclass(slots=True)
class Side:
    """One of the commands."""

    folder: Path
    process: subprocess.Popen[bytes]
    seconds: float = 0.0
    cpu_seconds: float | None = None
    """`None` until it has ended."""
    status: int = 0

    def turn(self, length: float) -> None:
        """Let it run for a while, or to its end."""
        started = time.perf_counter()
        os.killpg(self.process.pid, signal.SIGCONT)
        while self.cpu_seconds is None and time.perf_counter() - started < length:
            pid, self.status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.cpu_seconds = usage.ru_utime + usage.ru_stime
            else:
                time.sleep(SECONDS_BETWEEN_LOOKS)
        if self.cpu_seconds is None:
            os.killpg(self.process.pid, signal.SIGSTOP)
        self.seconds += time.perf_counter() - started


def main() -> None:
    """Run both and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--in", dest="folders", type=Path, action="append", required=True)
    parser.add_argument("--turn", type=float, default=0.5, help="Seconds of a turn.")
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    if len(asked.folders) != 2:
        parser.error("--in twice: the folder of the first command and that of the second")
    sides = [started(folder, asked.command) for folder in asked.folders]
    order = list(sides)
    while any(side.cpu_seconds is None for side in sides):
        for side in order:
            if side.cpu_seconds is None:
                side.turn(asked.turn)
        order.reverse()
    for side in sides:
        code = os.waitstatus_to_exitcode(side.status)
        sys.stdout.write(
            f"{side.folder}: {side.seconds:.2f} s, {side.cpu_seconds:.2f} CPU s, exit code {code}\n"
        )
    sys.stdout.write(f"second over first: {sides[1].seconds / sides[0].seconds:.3f}\n")


def started(folder: Path, command: Sequence[str]) -> Side:
    """Start a command in a folder, stopped; what it prints is dropped."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.killpg(process.pid, signal.SIGSTOP)
    return Side(folder, process)


if __name__ == "__main__":
    main()
