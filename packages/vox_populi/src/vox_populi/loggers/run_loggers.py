"""The loggers of one training run, and the ids by which a resumed run finds them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock

from vox_populi import extras
from vox_populi.errors import ModelError
from vox_populi.files.strict_json import read_json_object
from vox_populi.files.whole_file import pretty_json, write_whole
from vox_populi.loggers.logged_values import Settings
from vox_populi.loggers.logger_choice import LoggerName
from vox_populi.loggers.logger_run import LoggedRun, LoggerRun
from vox_populi.loggers.logger_sink import LoggerSink
from vox_populi.loggers.mlflow_run import MlflowRun
from vox_populi.loggers.tensorboard_run import TensorboardRun
from vox_populi.loggers.trackio_run import TrackioRun
from vox_populi.loggers.wandb_run import WandbRun

LOGGERS_FOLDER = "loggers"
IDS_FILE = "ids.json"
_MAX_IDS_BYTES = 1 << 16

_STARTERS: Mapping[LoggerName, Callable[[LoggedRun], LoggerRun]] = {
    LoggerName.TENSORBOARD: TensorboardRun,
    LoggerName.WANDB: WandbRun,
    LoggerName.MLFLOW: MlflowRun,
    LoggerName.TRACKIO: TrackioRun,
}


def require_loggers(loggers: Sequence[LoggerName]) -> None:
    """Check that the packages of loggers are installed.

    Raises:
        MissingExtraError: With one problem for each that is not.
    """
    extras.require(*(each.value for each in loggers))


@dataclass(slots=True)
class RunLoggers:
    """The loggers of a run; nothing is written before `begin`."""

    run: Path
    """The run folder."""
    sinks: tuple[LoggerSink, ...] = ()
    _ids: dict[str, str] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def of(
        cls, run: Path, loggers: Sequence[LoggerName], settings: Settings, first_step: int
    ) -> RunLoggers:
        """Prepare loggers.

        Args:
            run: The run folder.
            loggers: Which ones.
            settings: What they show of the request.
            first_step: Steps done before; a run that is resumed continues in the same places.
        """
        made = cls(run)
        if first_step > 0:
            made._ids = _read_ids(run)
        made.sinks = tuple(made._sink(each, settings, first_step) for each in loggers)
        return made

    def begin(self) -> None:
        """Start the loggers."""
        for sink in self.sinks:
            sink.begin()

    def close(self) -> None:
        """Let the loggers write what is left."""
        for sink in self.sinks:
            sink.close()

    def _sink(self, logger: LoggerName, settings: Settings, first_step: int) -> LoggerSink:
        logged = LoggedRun(
            name=self.run.resolve().name,
            folder=self.run / LOGGERS_FOLDER / logger,
            settings=settings,
            known_as=self._ids.get(logger),
            first_step=first_step,
        )
        start, remember = partial(_STARTERS[logger], logged), partial(self._remember, logger)
        return LoggerSink(logger, start, remember)

    def _remember(self, logger: LoggerName, run_id: str) -> None:
        """Write down the logger's id of this run; called on the threads of the loggers."""
        with self._lock:
            self._ids[logger] = run_id
            folder = self.run / LOGGERS_FOLDER
            folder.mkdir(exist_ok=True)
            write_whole(folder / IDS_FILE, pretty_json(dict(sorted(self._ids.items()))))


def _read_ids(run: Path) -> dict[str, str]:
    """The ids of an earlier session; none if they cannot be read, which starts new runs."""
    path = run / LOGGERS_FOLDER / IDS_FILE
    if not path.is_file():
        return {}
    try:
        values = read_json_object(path, _MAX_IDS_BYTES)
    except ModelError:
        return {}
    return {name: each for name, each in values.items() if isinstance(each, str)}
