"""Starting the processes of a run on this machine. No torch."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from vox_populi.errors import ConfigError, RunFailedError
from vox_populi.operator_messages import ranks as say
from vox_populi.pipeline.rank_place import RankPlace
from vox_populi.pipeline.runners import load_runner


class RankKilledError(RunFailedError):
    """A process of the run was ended from outside."""

    def __init__(self, rank: int, signal_number: int) -> None:
        super().__init__(say.rank_killed(rank, signal.Signals(signal_number).name))
        self.exit_code = code_of_signal(signal_number)
        """A shell's exit code for that process, such as 137."""


def code_of_signal(signal_number: int) -> int:
    """A shell's exit code for a process that a signal ended."""
    return 128 + signal_number


def processes_here(nproc: int, place: RankPlace) -> RankPlace:
    """The place of a process of the run, asked for with a flag or made by a launcher.

    Args:
        nproc: How many processes were asked for on this machine.
        place: What a launcher says, if one started this process.

    Raises:
        ConfigError: When both say something, and not the same.
    """
    if not place.is_launched:
        return RankPlace(size=nproc, local_size=nproc)
    if nproc not in (1, place.local_size):
        raise ConfigError(say.nproc_beyond_launcher(nproc, place.local_size))
    return place


def run_on_processes(nproc: int, arguments: Sequence[str], threads: int | None) -> int:
    """Start a command on several processes, wait, and return the exit code.

    Args:
        nproc: How many.
        arguments: The command line after `vox`; each process runs it.
        threads: CPU threads of each process, if the request has them.

    Raises:
        MissingExtraError: Without torch.
        RunFailedError: When the system ended a process.
    """
    code: int = load_runner("launch_run").run_on_processes(nproc, arguments, threads)
    return code
