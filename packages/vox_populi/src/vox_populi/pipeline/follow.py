"""Following a run by its folder until it ends: `vox mens watch`, `vox mens status --follow`.

No torch.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from vox_populi.errors import ArtifactError, RunFailedError
from vox_populi.files.folder_lock import lock_holder
from vox_populi.operator_messages import adapter as say_adapter
from vox_populi.operator_messages import checkpoint as say_checkpoint
from vox_populi.operator_messages import run_reports as say
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_populi.runs.run_dir import TELEMETRY_FILE, require_regular_files, run_files
from vox_populi.runs.run_history import RunHistory, RunState, first_count, run_state, text_or_none
from vox_populi.runs.telemetry import TelemetryLine
from vox_populi.runs.telemetry_follow import NewLines, TelemetryFollower


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowTiming:
    """How often to look, and how long to wait for a restart."""

    interval_seconds: float = 1.0
    restart_seconds: float = 10.0
    """How long a run that ended without a record may take to come back."""
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What is known of a run at one moment, and what is new."""

    state: RunState
    holder: str | None
    read: tuple[TelemetryLine, ...]
    """Events read in this look; after a restart, the kept ones are among them again."""
    new: tuple[TelemetryLine, ...]
    """Events that are new in this look, in order."""
    history: RunHistory
    """All events so far."""
    has_restarted: bool
    """Whether the history starts over: a resumed run drops the steps that it will repeat."""


class FollowedRunStoppedError(RunInterruptedError):
    """The followed run was stopped by a signal or its time limit, which is not an error."""

    def __init__(self, path: str, step: int) -> None:
        RunFailedError.__init__(self, say.followed_run_stopped(step).at(path))
        self.exit_code = 128 + signal.SIGINT


def follow_run(run: Path, timing: FollowTiming) -> Iterator[Look]:
    """Look at a run again and again; the last look has the state that it ended in.

    Raises:
        ArtifactError: When the path is not a run folder, or its telemetry cannot be read.
    """
    require_regular_files(run)
    if not run_files(run) and lock_holder(run) is None:
        raise ArtifactError(say_checkpoint.NOT_A_RUN_FOLDER.at(str(run)))
    follower, watched = TelemetryFollower(run / TELEMETRY_FILE), _Watched(run)
    while True:
        # In this order: a run writes its last lines before it frees its folder.
        holder = lock_holder(run)
        look = watched.look(holder, _look(follower, run))
        yield look
        if watched.has_ended(look, timing):
            return
        timing.sleep(timing.interval_seconds)


def raise_outcome(run: Path, last: Look) -> None:
    """Raise what a followed run ended with, unless it is complete.

    Raises:
        FollowedRunStoppedError: After a signal (exit 130).
        RunFailedError: When it failed or vanished (exit 4).
    """
    if last.state is RunState.COMPLETED:
        return
    failure = last.history.failure
    if failure is None:
        raise RunFailedError(say.FOLLOWED_RUN_GONE.at(str(run)))
    if last.state is RunState.FAILED:
        reason = text_or_none(failure.get("message")) or "no reason is recorded"
        raise RunFailedError(say.followed_run_failed(reason).at(str(run)))
    steps = last.history.last.get("step", {})
    raise FollowedRunStoppedError(str(run), first_count(steps.get("step")) or 0)


def _look(follower: TelemetryFollower, run: Path) -> NewLines:
    try:
        return follower.look()
    except OSError as error:
        where = str(run / TELEMETRY_FILE)
        raise ArtifactError(say_adapter.artifact_unreadable(error).at(where)) from error


class _Watched:
    """A run between two looks."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._history = RunHistory()
        self._passed_on_ts_ms = -1
        self._gone_since: float | None = None

    def look(self, holder: str | None, found: NewLines) -> Look:
        if found.has_restarted:
            self._history = RunHistory()
        for line in found.lines:
            self._history.add(line)
        # A resumed run writes its kept lines again, with their times.
        after = self._passed_on_ts_ms if found.has_restarted else -1
        read = tuple(line for line in found.lines if line is not None)
        new = tuple(line for line in read if line.ts_ms > after)
        for line in new:
            self._passed_on_ts_ms = max(self._passed_on_ts_ms, line.ts_ms)
        return Look(
            state=run_state(self._run, holder, self._history),
            holder=holder,
            read=read,
            new=new,
            history=self._history,
            has_restarted=found.has_restarted,
        )

    def has_ended(self, look: Look, timing: FollowTiming) -> bool:
        """Whether nothing more is to be expected."""
        if look.state is RunState.RUNNING:
            self._gone_since = None
            return False
        if look.state is RunState.COMPLETED or look.history.failure is not None:
            return True
        now = timing.clock()
        if self._gone_since is None:
            self._gone_since = now
        return now - self._gone_since >= timing.restart_seconds
