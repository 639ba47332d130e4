"""What loggers are told, and what they are never told."""

from __future__ import annotations

import math

import pytest

from vox_populi.errors import ConfigError
from vox_populi.events import Event, EventName
from vox_populi.loggers.logged_values import settings_to_log, values_of
from vox_populi.loggers.logger_choice import LoggerName, parse_report_to, report_to_as_text


def test_settings_have_no_text_of_the_operator_and_no_path() -> None:
    contract = {
        "lora": {"rank": 8, "alpha": 16.0},
        "system_prompt": "secret",
        "context_filter": "secret",
        "max_steps": None,
        "seed": 1,
    }
    logged = settings_to_log(contract, {"data": "sha256:d"}, {"torch": "2"})
    assert logged == {
        "lora.rank": 8,
        "lora.alpha": 16.0,
        "seed": 1,
        "digest.data": "sha256:d",
        "program.torch": "2",
    }


def test_only_finite_numbers_of_steps_and_evaluations_are_logged() -> None:
    step = {"step": 1, "loss": 2.5, "grad_norm": math.inf, "epoch": 0, "learning_rate": None}
    assert values_of(Event(EventName.STEP, step)) == {"train/loss": 2.5, "train/epoch": 0.0}
    assert values_of(Event(EventName.EVALUATION, {"step": 1, "val_loss": math.nan})) == {}
    failed = {"message": "text of a row", "step": 3}
    assert values_of(Event(EventName.TRAIN_FAILED, failed)) == {}


@pytest.mark.parametrize(
    ("text", "loggers"),
    [
        ("none", None),
        ("wandb", (LoggerName.WANDB,)),
        (" Trackio,tensorboard ,trackio", (LoggerName.TENSORBOARD, LoggerName.TRACKIO)),
    ],
)
def test_a_list_of_loggers_is_read_in_any_order(text: str, loggers: object) -> None:
    assert parse_report_to(text) == loggers
    assert parse_report_to(report_to_as_text(parse_report_to(text))) == loggers


@pytest.mark.parametrize("text", ["", ",", "comet", "wandb,comet"])
def test_an_unknown_logger_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_report_to(text)
