from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_cli import app
from vox_cli.commands import mens_doctor
from vox_cli.machine_report import MachineReport
from vox_cli.reported_failure import ReportedFailureError
from vox_populi.errors import (
    ConfigError,
    ContractError,
    EnvironmentFailure,
    MissingExtraError,
    RunFailedError,
)
from vox_populi.pipeline.stopped_run import RunInterruptedError, RunOutOfTimeError
from vox_tensor.errors import FailureKind, Problem, VoxError

Vox = Callable[..., Any]

ONE = Problem(code="MENS-T001", what="it is wrong.", where="file:3", fix="Mend it.")
TWO = Problem(code="MENS-T002", what="so is this.", fix="Mend it too.")


class GateError(VoxError):
    kind = FailureKind.GATE_MISSED


@pytest.fixture
def failing(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run a command whose work raises."""

    def call(error: BaseException, *flags: str) -> Any:
        def fail() -> MachineReport:
            raise error

        monkeypatch.setattr(mens_doctor, "examine_machine", fail)
        return vox("mens", "doctor", *flags)

    return call


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError(ONE, TWO), 2),
        (ContractError(ONE, TWO), 3),
        (RunFailedError(ONE, TWO), 4),
        (EnvironmentFailure(ONE, TWO), 5),
        (GateError(ONE, TWO), 6),
        (MissingExtraError(ONE, TWO), 7),
        (RunInterruptedError(signal.SIGINT, 3), 130),
        (RunInterruptedError(signal.SIGTERM, 3), 143),
        (RunOutOfTimeError(60, 3), 124),
    ],
)
def test_a_failure_ends_with_its_code_and_a_line_per_problem(
    failing: Vox, error: VoxError, code: int
) -> None:
    outcome = failing(error)
    assert outcome.code == code
    assert outcome.out == ""
    kind = "stopped" if code >= 124 else "error"
    assert outcome.err.splitlines() == [f"{kind} {problem}" for problem in error.problems]


def test_a_problem_says_code_place_cause_and_fix(failing: Vox) -> None:
    assert failing(ContractError(ONE)).err == "error [MENS-T001] file:3: it is wrong. Mend it.\n"


def test_json_has_the_same_problems_on_stdout(failing: Vox) -> None:
    outcome = failing(ContractError(ONE, TWO), "--json")
    assert outcome.document == {
        "ok": False,
        "exit_code": 3,
        "problems": [
            {"code": "MENS-T001", "what": "it is wrong.", "where": "file:3", "fix": "Mend it."},
            {"code": "MENS-T002", "what": "so is this.", "where": None, "fix": "Mend it too."},
        ],
    }
    assert outcome.codes == ["MENS-T001", "MENS-T002"]


def test_a_failure_with_a_report_prints_both(failing: Vox) -> None:
    outcome = failing(ReportedFailureError({"rows": 4, "problems": "theirs"}, ONE), "--json")
    assert outcome.code == 3
    assert outcome.document["rows"] == 4
    assert outcome.document["problems"] == [ONE.as_json()]


@pytest.mark.parametrize(
    ("error", "code", "problem"),
    [
        (KeyboardInterrupt(), 130, "MENS-R090"),
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), 5, "MENS-E090"),
        (OSError(errno.ENOSPC, "No space left on device"), 5, "MENS-E090"),
        (MemoryError(), 5, "MENS-E091"),
        (ZeroDivisionError("secret row content"), 1, "MENS-B001"),
        (RecursionError(), 1, "MENS-B001"),
    ],
)
def test_an_unexpected_exception_is_one_line_without_a_traceback(
    failing: Vox, error: BaseException, code: int, problem: str
) -> None:
    outcome = failing(error, "--json")
    assert outcome.code == code
    assert outcome.codes == [problem]
    assert len(outcome.err.splitlines()) == 1
    assert "secret" not in outcome.err
    assert outcome.document["exit_code"] == code


def test_the_system_s_refusal_names_the_file(failing: Vox) -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "runs/x")
    assert "runs/x" in failing(error).err
    assert "Permission denied" in failing(error).err


def test_vox_debug_shows_where(failing: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOX_DEBUG", "1")
    outcome = failing(ZeroDivisionError("the cause"), "--json")
    assert "Traceback" in outcome.err
    assert "the cause" in outcome.err
    assert outcome.document["exit_code"] == 1


def test_control_characters_of_a_name_reach_no_terminal(failing: Vox) -> None:
    hostile = Problem(code="MENS-T003", what="bad.", where="\x1b[2Jfile\nname", fix="Mend it.")
    outcome = failing(ContractError(hostile))
    assert "\x1b" not in outcome.err
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["mens", "trian"], ["vox mens has no command 'trian'", "Did you mean vox mens train?"]),
        (["mens", "nonsense"], ["'nonsense'", "vox mens --help"]),
        (["xyz"], ["'xyz'", "vox --help"]),
        (["mens", "doctor", "--jsn"], ["--jsn:", "Did you mean --json?"]),
        (["mens", "doctor", "extra"], ["extra", "vox mens doctor --help"]),
        (["mens", "init"], ["DIR: this is required", "vox mens init --help"]),
        (["mens", "doctor", "--color"], ["--color"]),
        (["mens", "doctor", "--color", "allways"], ["--color:", "always", "never", "auto"]),
    ],
)
def test_a_usage_error_is_one_line_with_exit_code_2(
    vox: Vox, argv: list[str], words: list[str]
) -> None:
    outcome = vox(*argv)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith("error [MENS-")
    assert [word for word in words if word not in outcome.err] == []


def test_a_usage_error_has_its_json_document_too(vox: Vox) -> None:
    outcome = vox("mens", "doctor", "--json", "--colour", "always")
    assert outcome.code == 2
    assert outcome.document["ok"] is False
    assert outcome.document["problems"][0]["where"] == "--colour"
    assert "--color" in outcome.document["problems"][0]["fix"]


def test_json_can_be_asked_for_by_the_environment(
    failing: Vox, vox: Vox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VOX_MENS_JSON", "1")
    assert failing(ContractError(ONE)).document["exit_code"] == 3
    assert vox("mens", "init", tmp_path / "demo").document["ok"] is True


def test_json_after_two_dashes_is_not_a_flag(vox: Vox) -> None:
    outcome = vox("mens", "doctor", "--", "--json")
    assert outcome.code == 2
    assert outcome.out == ""


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_help_lists_the_groups(vox: Vox, argv: list[str]) -> None:
    outcome = vox(*argv)
    assert (outcome.code, outcome.err) == (0, "")
    assert "mens" in outcome.out
    assert "schola" in outcome.out


def test_a_group_without_a_command_shows_its_help(vox: Vox) -> None:
    assert vox("mens").out == vox("mens", "--help").out
    assert "doctor" in vox("mens").out
    assert "validate" in vox("mens", "corpus").out


def test_the_version_is_shown(vox: Vox) -> None:
    outcome = vox("--version")
    assert outcome.code == 0
    assert outcome.out.startswith("vox ")


def test_run_works_outside_the_main_thread(vox: Vox) -> None:
    outcomes = []
    worker = threading.Thread(target=lambda: outcomes.append(vox("mens", "--help")))
    worker.start()
    worker.join()
    assert outcomes[0].code == 0


def test_signal_handlers_are_put_back(vox: Vox) -> None:
    before = signal.getsignal(signal.SIGTERM)
    vox("mens", "--help")
    assert signal.getsignal(signal.SIGTERM) is before


def in_a_process(code: str, *argv: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *argv],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        **options,
    )


HELP_WITHOUT = """
import sys
from vox_cli.app import run
code = run(sys.argv[1:])
heavy = ["torch", "yaml", "pydantic", "rich.console", "numpy", "vox_cli.commands.mens_train"]
heavy += ["vox_populi." + name for name in ("contract", "data", "hf", "plan", "runs", "adapters")]
sys.exit(code or " ".join(name for name in heavy if name in sys.modules) or 0)
"""


def test_help_imports_only_what_it_needs() -> None:
    done = in_a_process(HELP_WITHOUT, "--help")
    assert (done.returncode, done.stderr) == (0, "")


TERMINATED = """
import os, signal
from vox_cli import app
from vox_cli.commands import mens_doctor
def terminated():
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError("the handler must have raised")
mens_doctor.examine_machine = terminated
import sys
sys.argv = ["vox", "mens", "doctor", "--json"]
app.main()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to catch on Windows")
def test_a_terminated_command_ends_with_143() -> None:
    done = in_a_process(TERMINATED)
    assert done.returncode == 143
    assert json.loads(done.stdout)["exit_code"] == 143
    assert done.stderr.startswith("stopped [MENS-R091]")


@pytest.mark.skipif(sys.platform == "win32", reason="pipes differ on Windows")
def test_a_closed_pipe_is_not_an_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    call = "from vox_cli.app import main; import sys; sys.argv = ['vox', '--help']; main()"
    try:
        done = subprocess.run(
            [sys.executable, "-c", call], stdout=writer, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_full_disk_behind_stdout_is_the_environment() -> None:
    call = "from vox_cli.app import main; import sys; sys.argv = ['vox', '--help']; main()"
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-c", call], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 5
    assert done.stderr.startswith(b"error [MENS-E090]")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell that closes streams")
def test_closed_streams_do_not_end_a_command() -> None:
    call = "from vox_cli.app import main; import sys; sys.argv = ['vox', '--help']; main()"
    command = ["sh", "-c", 'exec "$0" -c "$1" >&- 2>&-', sys.executable, call]
    assert subprocess.run(command, check=False).returncode == 0


def test_python_m_does_not_import_from_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise SystemExit('shadowed')", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "vox_cli", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: vox" in done.stdout


def test_names_that_the_terminal_cannot_show_do_not_end_a_command() -> None:
    call = (
        "import sys; from vox_cli.app import main;"
        "sys.argv = ['vox', 'mens', 'init', 'caf\\u00e9\\udcff', '--json'];"
        "import vox_cli.commands.mens_init as m; from pathlib import Path;"
        "m.write_starter = lambda folder: {'config': folder / 'run.yaml'}; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", call],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["folder"].startswith("caf\u00e9")


def test_main_exits_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["vox", "mens", "nothing"])
    with pytest.raises(SystemExit) as caught:
        app.main()
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("flags", "lines"),
    [((), ["note: careful"]), (("-v",), ["note: careful", "note: by the way"]), (("-q",), [])],
)
def test_log_records_become_lines(
    vox: Vox, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], lines: list[str]
) -> None:
    records = logging.getLogger("vox_populi.pipeline")

    def talk() -> MachineReport:
        records.warning("careful")
        records.info("by the way")
        raise ContractError(ONE)

    monkeypatch.setattr(mens_doctor, "examine_machine", talk)
    outcome = vox("mens", "doctor", *flags)
    assert outcome.err.splitlines() == [*lines, f"error {ONE}"]
    assert logging.getLogger("vox_populi").handlers == []


def test_verbose_tells_how_long_it_took(vox: Vox, tmp_path: Path) -> None:
    assert "note: took" in vox("mens", "init", tmp_path / "a", "-v").err
    assert "note: took" not in vox("mens", "init", tmp_path / "b").err


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("libc10.so: failed to map segment from shared object", 5),
        ("x.so: cannot allocate memory in static TLS block", 5),
        ("cannot import name 'x'", 1),
    ],
)
def test_a_module_without_room_is_the_environments_fault(
    vox: Vox, monkeypatch: pytest.MonkeyPatch, message: str, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise ImportError(message)

    monkeypatch.setattr("vox_cli.app.build_root_command", refuse)
    assert vox("mens", "doctor").code == code
