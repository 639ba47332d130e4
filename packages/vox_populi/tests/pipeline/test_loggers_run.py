"""Loggers in a whole run: one record over a resume, and nothing that can stop the run."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from vox_populi import extras
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import MissingExtraError
from vox_populi.events import Event, EventName
from vox_populi.loggers import run_loggers
from vox_populi.loggers.logger_choice import LoggerName
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_populi.pipeline.train import Resume, RunOptions, run_training

MakeContract = Callable[..., FinetuneContract]
TO_TENSORBOARD = (LoggerName.TENSORBOARD,)


class StopAfter:
    def __init__(self, step: int) -> None:
        self.step = step

    def emit(self, event: Event) -> None:
        if event.name is EventName.STEP and event.payload["step"] == self.step:
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.filterwarnings("ignore")
def test_a_resumed_run_continues_its_record(make_contract: MakeContract) -> None:
    pytest.importorskip("tensorboard", reason="needs vox-populi[tensorboard]")
    contract = make_contract()
    with pytest.raises(RunInterruptedError):
        run_training(contract, RunOptions(report_to=TO_TENSORBOARD), [StopAfter(4)])
    report = run_training(contract, RunOptions(report_to=TO_TENSORBOARD, resume=Resume()))
    reader = extras.load("tensorboard.backend.event_processing.event_accumulator")
    events = reader.EventAccumulator(str(report.run / "loggers" / "tensorboard"))
    events.Reload()
    assert [each.step for each in events.Scalars("train/loss")] == list(range(1, 7))
    losses = [point.loss for point in report.evaluations]
    assert [each.value for each in events.Scalars("eval/loss")] == pytest.approx(losses)


def test_a_logger_that_fails_does_not_stop_the_run(
    make_contract: MakeContract,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(run: object) -> None:
        message = "no such server"
        raise ConnectionError(message)

    monkeypatch.setattr(run_loggers, "_STARTERS", dict.fromkeys(LoggerName, broken))
    monkeypatch.setattr(extras, "is_installed", lambda module: True)
    loggers = (LoggerName.WANDB, LoggerName.MLFLOW)
    report = run_training(make_contract(), RunOptions(report_to=loggers))
    assert report.steps == 6
    warnings = [record.getMessage() for record in caplog.records]
    assert sorted(text.split()[0] for text in warnings) == ["mlflow", "wandb"]
    assert all("no such server" in text for text in warnings)
    assert not (report.run / "loggers").exists()


def test_a_logger_that_is_not_installed_is_refused_before_anything_is_written(
    make_contract: MakeContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = extras.is_installed
    monkeypatch.setattr(extras, "is_installed", lambda m: m != "trackio" and known(m))
    contract = make_contract()
    with pytest.raises(MissingExtraError, match="trackio"):
        run_training(contract, RunOptions(report_to=(LoggerName.TRACKIO,)))
    assert not contract.output_dir.exists()
