"""Starting the processes of a run on this machine. No torch."""

from __future__ import annotations

import os
from collections.abc import Sequence

from vox_populi.errors import ConfigError, EnvironmentFailure
from vox_populi.operator_messages import ranks as say
from vox_populi.pipeline.rank_place import RankPlace
from vox_populi.pipeline.runners import load_runner

LAUNCHER_VARIABLE = "VOX_LAUNCHER_PID"
"""Which process started those of a run; `launcher_watch` looks whether it is still there."""
PATIENCE_VARIABLE = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"
"""torch's: how long a launcher lets processes finish."""
_SECONDS_TO_STOP = 30


def seconds_to_stop() -> int:
    """How long the processes of a run may take to stop once they were asked to.

    Raises:
        EnvironmentFailure: When the variable for it is not a whole number.
    """
    text = os.environ.get(PATIENCE_VARIABLE, "")
    if text and not text.isdecimal():
        raise EnvironmentFailure(say.patience_unusable(PATIENCE_VARIABLE, text))
    return int(text) if text else _SECONDS_TO_STOP


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


def require_one_process(place: RankPlace) -> None:
    """Refuse what only one process can do.

    Raises:
        ConfigError: When there are several.
    """
    if place.size > 1:
        raise ConfigError(say.step_tried_alone(place.size))


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
