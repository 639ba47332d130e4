"""Starting the processes of a run on this machine with torch's elastic agent. Needs torch."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from vox_populi.pipeline.interruption import is_heeded
from vox_populi.pipeline.launch import LAUNCHER_VARIABLE, seconds_to_stop
from vox_populi.pipeline.machine_probe import count_cpus
from vox_populi.pipeline.stopped_run import RankKilledError, code_of_signal
from vox_populi.pipeline.stopped_watch import StoppedWatch

_PASSED_ON = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT")
"""torch's own choice."""
_LOOPBACK = "127.0.0.1"
_SECONDS_BETWEEN_LOOKS = 0.1


def run_on_processes(nproc: int, arguments: Sequence[str], threads: int | None) -> int:
    """Start a command on several processes, as `torchrun --standalone` does.

    The agent passes SIGINT, SIGTERM and SIGHUP on, and ends all processes when one of them failed.

    Raises:
        RankKilledError: When the system ended a process, which could not say why.
    """
    if threads is None:
        # Together they would otherwise want every core several times.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(count_cpus() // nproc, 1)))
    # torch reads it itself, and would not say what is wrong with it.
    seconds_to_stop()
    os.environ[LAUNCHER_VARIABLE] = str(os.getpid())
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=nproc,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint=f"{_LOOPBACK}:0",
        local_addr=_LOOPBACK,
        max_restarts=0,
        monitor_interval=_SECONDS_BETWEEN_LOOKS,
        signals_to_handle=",".join(heeded_signals()),
    )
    watch = StoppedWatch()
    watch.start()
    try:
        with _silent_agent():
            elastic_launch(config, sys.executable)("-m", "vox_cli", *arguments)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            is_stopped = failure.pid in watch.killed
            raise RankKilledError(rank, -failure.exitcode, is_stopped=is_stopped) from error
        return failure.exitcode
    except SignalException as error:
        return code_of_signal(error.sigval)
    return 0


def heeded_signals() -> tuple[str, ...]:
    """Names of the signals that the agent passes on to the processes."""
    known = (name for name in _PASSED_ON if hasattr(signal, name))
    return tuple(name for name in known if is_heeded(getattr(signal, name)))


@contextmanager
def _silent_agent() -> Iterator[None]:
    """A block of code without the agent's log, which is about its own work.

    Each of its loggers has a level of its own.
    """
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
