"""One pytest process for all rows of a profile, and the record of what it did."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tests_integration.gate import messages as say
from tests_integration.gate import plugin
from tests_integration.gate.profiles import GateManifest, GateRow
from tests_integration.gate.selection import CollectedTest, outermost
from vox_cli.command_table import ENVIRONMENT_PREFIX
from vox_populi import extras
from vox_populi.errors import MissingExtraError

Say = Callable[[str], None]

# What would make the gate run something else than its file says.
_UNUSED_VARIABLES = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")
_CLONE = Path(__file__).resolve().parents[2]


class TestOutcome(StrEnum):
    """How a test ended."""

    __test__ = False

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    NOT_RUN = "not_run"


@dataclass(slots=True)
class TestRecord:
    """One test of the session."""

    __test__ = False

    outcome: TestOutcome = TestOutcome.NOT_RUN
    seconds: float = 0.0

    def add_phase(self, outcome: str, seconds: float) -> None:
        """Record setup, call or teardown; a failure stays a failure, and a skip stays a skip."""
        self.seconds += seconds
        if TestOutcome.FAILED in (self.outcome, outcome):
            self.outcome = TestOutcome.FAILED
        elif self.outcome is not TestOutcome.SKIPPED:
            self.outcome = TestOutcome(outcome)


@dataclass(slots=True)
class SessionRecord:
    """The record of a pytest process."""

    exit_code: int = 0
    last_line: str = ""
    collected: tuple[CollectedTest, ...] | None = None
    """The collected tests; `None` if it ended before collecting."""
    tests: dict[str, TestRecord] = field(default_factory=dict)
    uncollected: dict[str, str] = field(default_factory=dict)
    """The reason why a file's tests are unknown, by file."""

    def add(self, event: Mapping[str, object]) -> None:
        """Record one line of the plugin."""
        if event["event"] == "collected":
            tests = event["tests"]
            assert isinstance(tests, list)
            self.collected = tuple(
                CollectedTest(each["id"], tuple(each["requirements"])) for each in tests
            )
        elif event["event"] == "uncollected":
            self.uncollected[str(event["where"])] = str(event["text"])
        else:
            seconds = event["seconds"]
            assert isinstance(seconds, float)
            record = self.tests.setdefault(str(event["id"]), TestRecord())
            record.add_phase(str(event["outcome"]), seconds)


def run_session(
    manifest: GateManifest,
    rows: Sequence[GateRow],
    note: Say,
    *,
    keep_going: bool = False,
    collect_only: bool = False,
) -> SessionRecord:
    """Collect once, keep what the rows select, run it, and record every outcome.

    Args:
        manifest: Has the root of the workspace.
        rows: Rows to run.
        note: Receives every line that pytest prints.
        keep_going: Continue after a broken row or a failed test.
        collect_only: Run nothing.

    Raises:
        MissingExtraError: When pytest is not installed.
    """
    if not extras.is_installed("pytest"):
        raise MissingExtraError(say.gate_needs_pytest())
    paths = [path for path in _all_paths(rows) if (manifest.root / path).exists()]
    if not paths:
        return SessionRecord(collected=())
    with tempfile.TemporaryDirectory(prefix="vox-gate-") as scratch:
        folder = Path(scratch)
        plugin.write_request(folder, tuple(rows), keep_going=keep_going)
        options = [] if keep_going else ["--exitfirst"]
        options += ["--continue-on-collection-errors"] if keep_going else []
        options += ["--collect-only"] if collect_only else []
        record = SessionRecord()
        command = _command(manifest.root, folder, [*options, "--", *paths])
        record.exit_code = _stream(command, manifest.root, record, note)
        for event in _events(folder / plugin.EVENTS_FILE):
            record.add(event)
    return record


def _all_paths(rows: Iterable[GateRow]) -> tuple[str, ...]:
    return outermost(path for row in rows for path in row.paths)


def _command(root: Path, folder: Path, rest: Sequence[str]) -> list[str]:
    return [
        *(sys.executable, "-m", "pytest", "-q", "--no-header"),
        # One word: pytest takes the path in a word of its own for a place to look for its config.
        *("-p", plugin.__name__, f"{plugin.OPTION}={folder}"),
        # Nothing is written into the workspace.
        *("-p", "no:cacheprovider", "--rootdir", str(root)),
        *rest,
    ]


def _stream(command: Sequence[str], root: Path, record: SessionRecord, note: Say) -> int:
    """Run a process, pass its lines on, and return its exit code."""
    with subprocess.Popen(
        command,
        cwd=root,
        env=_environment(root, note),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.strip():
                    record.last_line = line.strip()
                note(line.rstrip("\n"))
        except BaseException:
            # Ctrl-C or a termination: the tests end with the gate.
            process.kill()
            raise
    return process.returncode


def _environment(root: Path, note: Say) -> dict[str, str]:
    """This process's variables without those that change what runs, or how a command behaves."""
    kept: dict[str, str] = {}
    for name, value in os.environ.items():
        if name in _UNUSED_VARIABLES:
            note(say.note_gate_variable_unused(name))
        elif not name.startswith((f"{ENVIRONMENT_PREFIX}_", "PYTEST_XDIST_")):
            kept[name] = value
    if root != _CLONE:
        # pytest runs in the workspace of the rows, and must find the plugin of this one.
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, (str(_CLONE), kept.get("PYTHONPATH"))))
    return kept


def _events(path: Path) -> list[dict[str, object]]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    # A line without its end was cut off with the process.
    return [json.loads(line) for line in lines[:-1]]
