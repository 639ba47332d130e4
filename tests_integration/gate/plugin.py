"""Loaded by pytest in the gate's process: selects the tests of the rows and records what happened.

It writes one JSON object per line, immediately, so that the record survives the end of the process.
Only pytest imports this module.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests_integration.gate.profiles import GateRow
from tests_integration.gate.selection import CollectedTest, selected_tests, selection_problems

if TYPE_CHECKING:
    import pytest

OPTION = "--gate-folder"
REQUEST_FILE = "request.json"
EVENTS_FILE = "events.jsonl"


def write_request(folder: Path, rows: tuple[GateRow, ...], *, keep_going: bool) -> None:
    """Write what to run; `pytest_configure` reads it."""
    request = {"rows": [asdict(row) for row in rows], "keep_going": keep_going}
    (folder / REQUEST_FILE).write_text(json.dumps(request), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option for the folder of request and events."""
    parser.addoption(OPTION, type=Path, required=True, help="folder of the gate's request")


def pytest_configure(config: pytest.Config) -> None:
    """Start recording."""
    config.pluginmanager.register(GateRecorder(config.getoption(OPTION)))


class GateRecorder:
    """The pytest hooks and their request."""

    def __init__(self, folder: Path) -> None:
        request = json.loads((folder / REQUEST_FILE).read_text(encoding="utf-8"))
        self.rows = [_row(fields) for fields in request["rows"]]
        self.keep_going = bool(request["keep_going"])
        self.events = folder / EVENTS_FILE

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that cannot be imported."""
        if report.failed:
            self._write(event="uncollected", where=report.nodeid, text=_reason(report.longreprtext))

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        """Keep what the rows select, or nothing if a broken row ends the gate."""
        tests = {item.nodeid: collected_test(item) for item in items}
        listed = tuple(tests.values())
        self._write(event="collected", tests=[asdict(test) for test in listed])
        is_broken = any(selection_problems(row, listed) for row in self.rows)
        wanted = {test.id for row in self.rows for test in selected_tests(row, listed)}
        if is_broken and not self.keep_going:
            wanted = set()
        dropped = [item for item in items if item.nodeid not in wanted]
        items[:] = [item for item in items if item.nodeid in wanted]
        config.hook.pytest_deselected(items=dropped)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record how setup, call and teardown of a test ended."""
        self._write(
            event="phase", id=report.nodeid, outcome=report.outcome, seconds=report.duration
        )

    def _write(self, **fields: object) -> None:
        with self.events.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(fields) + "\n")


def _row(fields: dict[str, Any]) -> GateRow:
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()
    }
    return GateRow(**values)


def collected_test(item: pytest.Item) -> CollectedTest:
    """The id of a test and the rows that it says it proves."""
    marks = item.iter_markers("requirement")
    return CollectedTest(item.nodeid, tuple(str(id) for mark in marks for id in mark.args))


def _reason(text: str) -> str:
    """The last line with content: the error itself, after its traceback."""
    lines = [line.removeprefix("E").strip() for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "")
