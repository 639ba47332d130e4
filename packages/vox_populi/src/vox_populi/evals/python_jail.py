"""Running Python that a model wrote, with its tests, in a process that has given up every right.

The program has no network, no other process, no environment and no writable file; CPU, memory, open
files, wall time and output are limited, and its process group is killed at the end. It reads
Python's own library and its own folder. That is `jail_launcher`'s work: seccomp, Landlock, limits.

A program passes if it reaches its last line, which writes a word that is new each time, so leaving
early with exit code 0 is no pass. A program that reads its own source finds that word: this keeps
accidents in, and is not built against a model that cheats on purpose.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from vox_populi.errors import EnvironmentFailure
from vox_populi.operator_messages import evals as say

_LAUNCHER = Path(__file__).with_name("jail_launcher.py")
_SETUP_FAILED = 97
"""What `jail_launcher` exits with when it cannot give something up."""
_MOST_OUTPUT = 64 << 10
_SHOWN_OUTPUT = 600
_READABLE = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/usr/share/zoneinfo")
_DEVICES = ("/dev/null", "/dev/urandom", "/dev/zero")


@dataclass(frozen=True, slots=True, kw_only=True)
class JailLimits:
    """What one program may use."""

    wall_seconds: float = 10.0
    cpu_seconds: int = 8
    memory_bytes: int = 512 << 20
    """Address space."""
    open_files: int = 32


class JailEnd(StrEnum):
    """How a program ended."""

    PASSED = "passed"
    FAILED = "failed"
    """An exception, a failed assertion, or an exit before the last line."""
    TIME = "time"
    """Killed at a limit of time."""
    OUTPUT = "output"
    """Killed for writing too much."""


@dataclass(frozen=True, slots=True)
class JailResult:
    """How a program ended, and the end of what it wrote."""

    end: JailEnd
    output: str = ""


def run_python(code: str, tests: str, limits: JailLimits | None = None) -> JailResult:
    """Run code and then its tests as one program.

    Raises:
        EnvironmentFailure: Where a process cannot be locked down; then nothing was run.
    """
    limits = limits or JailLimits()
    word = secrets.token_hex(16)
    last = f"import os, sys\nsys.stdout.flush()\nos.write(1, b'\\n{word}')\n"
    with tempfile.TemporaryDirectory(prefix="vox-eval-") as folder:
        program = Path(folder) / "program.py"
        program.write_text(f"{code}\n\n{tests}\n\n{last}", encoding="utf-8", errors="replace")
        return _run(program, word.encode(), limits)


def require_jail() -> None:
    """Check, by trying, that programs can be run and cannot reach out.

    Raises:
        EnvironmentFailure: Where they cannot, or could.
    """
    if not sys.platform.startswith("linux"):
        raise EnvironmentFailure(say.jail_missing("it takes Linux"))
    for name, attempt in _ATTEMPTS.items():
        # The attempt must fail for want of permission, which the program itself checks.
        tests = f"try:\n    {attempt}\nexcept OSError:\n    pass\nelse:\n    raise SystemExit(1)"
        if run_python("import os", tests).end is not JailEnd.PASSED:
            raise EnvironmentFailure(say.jail_missing(f"a program could {name}"))


_ATTEMPTS = {
    "open a socket": "import socket; socket.socket()",
    "start a process": "os.fork()",
    "write a file": "os.write(os.open('x', os.O_CREAT | os.O_WRONLY), b'x')",
    "send a signal": "os.kill(os.getpid(), 0)",
}


def _run(program: Path, word: bytes, limits: JailLimits) -> JailResult:
    python = os.path.realpath(sys.executable)
    prefixes = {os.path.realpath(each) for each in (sys.base_prefix, sys.base_exec_prefix)}
    libraries = {f"{each}/lib" for each in prefixes if each != "/"}
    given = {
        "program": str(program),
        "readable": [python, *sorted(libraries), *_READABLE, *_DEVICES, str(program.parent)],
        "needs_landlock": False,
        "limits": {
            "cpu_seconds": limits.cpu_seconds,
            "memory_bytes": limits.memory_bytes,
            "open_files": limits.open_files,
        },
    }
    process = subprocess.Popen(
        [python, "-I", "-S", "-B", str(_LAUNCHER), json.dumps(given)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=program.parent,
        env={},
        start_new_session=True,
    )
    with _killed_at_the_end(process):
        written, end = _read(process, time.monotonic() + limits.wall_seconds)
        code = process.wait() if end is None else None
    if code == _SETUP_FAILED:
        raise EnvironmentFailure(say.jail_missing(written.decode("utf-8", "replace")))
    if end is None:
        is_time = code in (-signal.SIGXCPU, -signal.SIGKILL)
        passed = code == 0 and written.endswith(b"\n" + word)
        end = JailEnd.PASSED if passed else JailEnd.TIME if is_time else JailEnd.FAILED
    shown = written.removesuffix(word).decode("utf-8", "replace")
    return JailResult(end, shown.replace(str(program.parent), "")[-_SHOWN_OUTPUT:].strip())


@contextlib.contextmanager
def _killed_at_the_end(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        # Its group, which it cannot leave; none is left of one that ended by itself.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _read(process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, JailEnd | None]:
    """What a process writes until it closes its output; an end if that is for us to make."""
    assert process.stdout is not None, "opened above"
    descriptor, written = process.stdout.fileno(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not selector.select(left):
                return bytes(written), JailEnd.TIME
            piece = os.read(descriptor, 1 << 16)
            if not piece:
                break
            written += piece
            if len(written) > _MOST_OUTPUT:
                return bytes(written), JailEnd.OUTPUT
    # A program may close its output and go on.
    try:
        process.wait(max(deadline - time.monotonic(), 0.01))
    except subprocess.TimeoutExpired:
        return bytes(written), JailEnd.TIME
    return bytes(written), None
