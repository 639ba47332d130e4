"""The real programs, offline: what was written is read back with their own readers."""

from __future__ import annotations

import getpass
import platform
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from vox_populi import extras
from vox_populi.events import Event, EventName
from vox_populi.loggers.logger_choice import LoggerName
from vox_populi.loggers.run_loggers import RunLoggers

pytestmark = pytest.mark.filterwarnings("ignore")
SETTINGS = {"lora.rank": 8, "learning_rate": 2e-4}


@pytest.fixture(autouse=True)
def own_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing of the person who runs the tests decides where values go."""
    for name in ("WANDB_MODE", "WANDB_DIR", "WANDB_PROJECT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def needs(logger: LoggerName) -> None:
    if not extras.is_installed(logger):
        pytest.skip(f"needs vox-populi[{logger}]")


def session(run: Path, logger: LoggerName, steps: range, *, first_step: int = 0) -> None:
    """Log a value for each step, as a run does that may have been resumed."""
    loggers = RunLoggers.of(run, (logger,), SETTINGS, first_step)
    loggers.begin()
    for step in steps:
        payload = {"step": step, "loss": 10.0 - step, "learning_rate": 1e-4}
        loggers.sinks[0].emit(Event(EventName.STEP, payload))
    loggers.sinks[0].emit(Event(EventName.EVALUATION, {"step": steps[-1], "val_loss": 0.5}))
    loggers.sinks[0].emit(Event(EventName.TRAIN_COMPLETE, {}))
    loggers.close()
    assert not loggers.sinks[0].has_failed


def two_sessions(folder: Path, logger: LoggerName) -> Path:
    """A run that was killed after step 5 and resumed from step 3."""
    needs(logger)
    run = folder / "run"
    run.mkdir()
    session(run, logger, range(1, 6))
    session(run, logger, range(4, 8), first_step=3)
    return run


def marks(folder: Path) -> Iterator[bytes]:
    """What must be in no file: where the run is, on which machine, and whose it is."""
    yield str(folder).encode()
    yield from (name.encode() for name in (platform.node(),) if len(name) > 3)
    yield from (name.encode() for name in (getpass.getuser(),) if name != "root")


def assert_no_marks(run: Path, folder: Path) -> None:
    # W&B also writes debug logs for this machine, which it does not upload.
    logged = (path for path in (run / "loggers").rglob("*") if path.is_file())
    files = [path for path in logged if not path.name.startswith("debug")]
    assert files
    for path in files:
        for mark in marks(folder):
            assert mark not in path.read_bytes(), path
            assert mark.decode() not in str(path.relative_to(run))


def test_tensorboard_reads_every_step_once(tmp_path: Path) -> None:
    run = two_sessions(tmp_path, LoggerName.TENSORBOARD)
    reader = extras.load("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(run / "loggers" / "tensorboard"))
    events.Reload()
    scalars = events.Scalars("train/loss")
    assert [(each.step, each.value) for each in scalars] == [(n, 10.0 - n) for n in range(1, 8)]
    assert [each.step for each in events.Scalars("eval/loss")] == [7], "not that of the lost step"
    assert_no_marks(run, tmp_path)


def test_mlflow_has_one_run_with_every_step_once(tmp_path: Path) -> None:
    run = two_sessions(tmp_path, LoggerName.MLFLOW)
    store = (run / "loggers" / "mlflow").as_uri()
    client = extras.load("mlflow.tracking").MlflowClient(tracking_uri=store)
    (experiment,) = client.search_experiments(filter_string="name = 'vox-mens'")
    (found,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(found.info.run_id, "train/loss")
    assert [(each.step, each.value) for each in history] == [(n, 10.0 - n) for n in range(1, 8)]
    assert found.info.status == "FINISHED"
    assert found.data.params["lora.rank"] == "8"
    assert_no_marks(run, tmp_path)


def test_wandb_writes_one_run_offline(tmp_path: Path) -> None:
    run = two_sessions(tmp_path, LoggerName.WANDB)
    folders = list((run / "loggers" / "wandb" / "wandb").glob("offline-run-*"))
    # offline-run-TIME-ID; a second folder of the same second has a number behind that.
    assert len({folder.name.split("-")[3] for folder in folders}) == 1, "one id"
    found = read_wandb(next(min(folders).glob("*.wandb")))
    losses = [float(values["train/loss"]) for values in found if "train/loss" in values]
    assert losses == [9, 8, 7, 6, 5]
    assert_no_marks(run, tmp_path)


def read_wandb(file: Path) -> list[dict[str, str]]:
    """The history in an offline file: blocks as in LevelDB's log, with W&B's own messages."""
    data, place, whole = file.read_bytes(), len(b":W&B") + 3, b""
    records = extras.load("wandb.proto.wandb_internal_pb2")
    found = []
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            record = records.Record()
            record.ParseFromString(whole)
            whole = b""
            items = record.history.item
            names = (item.key or "/".join(item.nested_key) for item in items)
            found.append(dict(zip(names, (item.value_json for item in items), strict=True)))
    return [values for values in found if values]


def test_trackio_has_one_run_in_its_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "run" / "loggers" / "trackio"))
    run = two_sessions(tmp_path, LoggerName.TRACKIO)
    (database,) = (run / "loggers" / "trackio").glob("*.db")
    with sqlite3.connect(database) as read:
        rows = read.execute("select distinct run_name from metrics").fetchall()
        steps = read.execute("select distinct step from metrics order by step").fetchall()
    read.close()
    assert rows == [("run",)]
    assert [step for (step,) in steps] == list(range(1, 8))
    assert_no_marks(run, tmp_path)
