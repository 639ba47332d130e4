"""Code of a model is run, judged, and reaches nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vox_populi.errors import EnvironmentFailure
from vox_populi.evals import python_jail
from vox_populi.evals.python_jail import JailEnd, JailLimits, require_jail, run_python

QUICK = JailLimits(wall_seconds=5, cpu_seconds=1, memory_bytes=256 << 20)


@pytest.fixture(scope="module", autouse=True)
def _jail() -> None:
    try:
        require_jail()
    except EnvironmentFailure as error:
        pytest.skip(f"needs a kernel that locks programs in: {error}")


def test_a_program_passes_by_its_tests_alone() -> None:
    assert run_python("def f(a): return a + 1", "assert f(1) == 2", QUICK).end is JailEnd.PASSED
    failed = run_python("def f(a): return a + 2", "assert f(1) == 2", QUICK)
    assert failed.end is JailEnd.FAILED
    assert "AssertionError" in failed.output


@pytest.mark.parametrize(
    "code",
    [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "'''an open string",
        "raise SystemExit",
        "print('x' * 100); x = bytearray(10 ** 9)",
    ],
)
def test_leaving_before_the_tests_is_no_pass(code: str) -> None:
    assert run_python(code, "", QUICK).end is JailEnd.FAILED


@pytest.mark.any_install
def test_what_takes_too_long_or_writes_too_much_is_killed() -> None:
    slow = JailLimits(wall_seconds=0.5, cpu_seconds=1)
    assert run_python("import time; time.sleep(60)", "", slow).end is JailEnd.TIME
    closed = "import os, time; os.close(1); os.close(2); time.sleep(60)"
    assert run_python(closed, "", slow).end is JailEnd.TIME
    assert run_python("while True: print('x' * 1000)", "", QUICK).end is JailEnd.OUTPUT


@pytest.mark.parametrize(
    "attempt",
    [
        "import socket; socket.socket()",
        "import os; os.fork()",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.kill(os.getppid(), 9)",
        "open('left', 'w')",
        "open('{outside}/left', 'w')",
        "open('{outside}/secret').read()",
    ],
)
def test_nothing_can_be_reached(attempt: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret", encoding="utf-8")
    tried = attempt.replace("{outside}", str(tmp_path))
    # Landlock may be absent: then files of this user can be read, and nothing else differs.
    result = run_python(tried, "", QUICK)
    if "secret" not in attempt:
        assert result.end is JailEnd.FAILED
    assert "secret" not in result.output.replace("/secret", "")
    assert not (tmp_path / "left").exists()


def test_the_environment_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOX_SECRET", "1")
    code = "import os\nassert 'VOX_SECRET' not in os.environ\nassert 'PATH' not in os.environ"
    assert run_python(code, "", QUICK).end is JailEnd.PASSED


def test_threads_and_the_standard_library_work() -> None:
    code = (
        "import collections, decimal, json, math, re, threading\n"
        "t = threading.Thread(target=print); t.start(); t.join()\nprint('no newline', end='')"
    )
    assert run_python(code, "assert json.loads('[1]') == [1]", QUICK).end is JailEnd.PASSED


def test_where_nothing_can_be_locked_in_nothing_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(EnvironmentFailure) as caught:
        require_jail()
    assert caught.value.problems[0].code == "MENS-V010"


def test_a_jail_with_a_hole_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_jail, "_ATTEMPTS", {"do nothing": "pass"})
    with pytest.raises(EnvironmentFailure) as caught:
        require_jail()
    assert caught.value.problems[0].code == "MENS-V010"
