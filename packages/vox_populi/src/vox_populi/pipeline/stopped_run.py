"""The errors of runs that were stopped or ended from outside; each knows its exit code."""

from __future__ import annotations

import signal

from vox_populi.errors import RunFailedError
from vox_populi.operator_messages import ranks as say_ranks
from vox_populi.operator_messages import run as say

OUT_OF_TIME = 124
"""Exit code of a run that `--max-runtime-secs` stopped: that of `timeout(1)`."""


class RunInterruptedError(RunFailedError):
    """A run that was asked to stop and did."""

    def __init__(self, signal_number: int, step: int, checkpoint: str | None = None) -> None:
        name = signal.Signals(signal_number).name
        super().__init__(say.run_interrupted(name, step, checkpoint))
        self.exit_code = 128 + signal_number
        """A shell's exit code for a process ended by this signal: 129, 130 or 143."""


class RunOutOfTimeError(RunInterruptedError):
    """A run that reached its time limit and stopped; its `exit_code` is 124."""

    def __init__(self, seconds: int, step: int, checkpoint: str | None = None) -> None:
        RunFailedError.__init__(self, say.run_out_of_time(seconds, step, checkpoint))
        self.exit_code = OUT_OF_TIME


class RankKilledError(RunFailedError):
    """A process of the run was ended from outside."""

    def __init__(self, rank: int, signal_number: int, *, is_stopped: bool = False) -> None:
        code = code_of_signal(signal_number)
        killed = say_ranks.rank_killed(rank, _name_of(signal_number), code)
        super().__init__(say_ranks.rank_stopped(rank, code) if is_stopped else killed)
        self.exit_code = code
        """A shell's exit code for that process, such as 137."""


def code_of_signal(signal_number: int) -> int:
    """A shell's exit code for a process that a signal ended."""
    return 128 + signal_number


def _name_of(signal_number: int) -> str:
    try:
        return signal.Signals(signal_number).name
    except ValueError:
        # Those between the first and the last real-time signal have none.
        return f"signal {signal_number}"
