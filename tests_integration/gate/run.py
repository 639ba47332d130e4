"""The gate in one call: read the rows, run their tests, judge. `vox ci mens-gate` loads this."""

from __future__ import annotations

import time
from pathlib import Path

from tests_integration.gate.profiles import find_manifest, read_manifest
from tests_integration.gate.report import GateReport, judge
from tests_integration.gate.session import Say, run_session


def run_gate(profile: str, manifest: Path | None, note: Say, *, keep_going: bool) -> GateReport:
    """Run the rows of a profile.

    Args:
        profile: Which rows.
        manifest: The file of rows; `None` for the one around the working folder.
        note: Gets every line that pytest prints.
        keep_going: Run every row, even after a miss.

    Raises:
        ConfigError: For a manifest that is missing, damaged or without the profile.
        MissingExtraError: When pytest is not installed.
    """
    rows_file = read_manifest(find_manifest(Path.cwd()) if manifest is None else manifest)
    rows = rows_file.rows_of(profile)
    start = time.monotonic()
    session = run_session(rows_file, rows, note, keep_going=keep_going)
    return judge(rows_file, profile, rows, session, time.monotonic() - start)
