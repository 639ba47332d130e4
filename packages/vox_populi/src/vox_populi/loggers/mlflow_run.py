"""MLflow: files in the run folder, unless the operator's own configuration names a server."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vox_populi import extras
from vox_populi.loggers.logger_run import PROJECT, LoggedRun

_MOST_AT_ONCE = 100
_MOST_PARAMS = 100
_LONGEST_PARAM = 500
_NO_ARTIFACTS = "mlflow-artifacts:/"
"""A place without a path of this machine; nothing is stored there."""


class MlflowRun:
    """A run of MLflow's client."""

    def __init__(self, run: LoggedRun) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        self._entities: Any = extras.load("mlflow.entities")
        tracking = extras.load("mlflow.tracking")
        own = os.environ.get("MLFLOW_TRACKING_URI")
        uri = own or _store_in(run.folder)
        self._client = tracking.MlflowClient(tracking_uri=uri)
        self.run_id = run.known_as or self._new_run(run, has_own_store=own is not None)
        self._client.update_run(self.run_id, status="RUNNING")
        self._waiting: list[Any] = []
        self._last_step = self._steps_known() if run.known_as else -1

    def log(self, step: int, values: Mapping[str, float], time_seconds: float) -> None:
        """Record the values of a step; what a resumed run repeats is there already."""
        if step <= self._last_step:
            return
        stamp = int(time_seconds * 1000)
        self._waiting += [
            self._entities.Metric(name, value, stamp, step) for name, value in values.items()
        ]
        if len(self._waiting) >= _MOST_AT_ONCE:
            self._flush()

    def finish(self, *, is_complete: bool) -> None:
        """Record what is left, and the outcome."""
        self._flush()
        self._client.set_terminated(self.run_id, "FINISHED" if is_complete else "FAILED")

    def _new_run(self, run: LoggedRun, *, has_own_store: bool) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or PROJECT
        found = self._client.get_experiment_by_name(name)
        place = None if has_own_store else f"{_NO_ARTIFACTS}{name}"
        experiment = found.experiment_id if found else self._client.create_experiment(name, place)
        made = self._client.create_run(experiment, run_name=run.name)
        params = [
            self._entities.Param(key, str(value)[:_LONGEST_PARAM])
            for key, value in run.settings.items()
        ]
        for some in _parts(params, _MOST_PARAMS):
            self._client.log_batch(made.info.run_id, params=some)
        return str(made.info.run_id)

    def _steps_known(self) -> int:
        """The last step that an earlier session recorded."""
        history = self._client.get_metric_history(self.run_id, "train/loss")
        return max((metric.step for metric in history), default=-1)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for some in _parts(waiting, _MOST_AT_ONCE):
            self._client.log_batch(self.run_id, metrics=some)


def _store_in(folder: Path) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute().as_uri()


def _parts(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
