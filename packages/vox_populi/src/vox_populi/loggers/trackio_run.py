"""Trackio: a database in the run folder, unless the operator's own configuration says otherwise."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Mapping

from vox_populi import extras
from vox_populi.loggers.logger_run import PROJECT, LoggedRun


class TrackioRun:
    """A run of Trackio; what it prints is left out, since standard output is for results."""

    def __init__(self, run: LoggedRun) -> None:
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        run.folder.mkdir(parents=True, exist_ok=True)
        # It reads this when it is imported; a process with several runs has one place for them.
        os.environ.setdefault("TRACKIO_DIR", str(run.folder.absolute()))
        self._trackio = extras.load("trackio")
        self.run_id = run.known_as or run.name
        with contextlib.redirect_stdout(io.StringIO()):
            self._run = self._trackio.init(
                project=os.environ.get("TRACKIO_PROJECT") or PROJECT,
                name=self.run_id,
                resume="allow" if run.known_as else "never",
                config=dict(run.settings),
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )

    def log(self, step: int, values: Mapping[str, float], time_seconds: float) -> None:
        """Record the values of a step."""
        self._run.log(dict(values), step=step)

    def finish(self, *, is_complete: bool) -> None:
        """Write everything; Trackio has no word for the outcome."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._run.finish()
