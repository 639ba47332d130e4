"""Which loggers a run reports to, as typed: `tensorboard,wandb`, or `none`."""

from __future__ import annotations

from enum import StrEnum

from vox_populi.errors import ConfigError
from vox_populi.operator_messages import contract as say

NONE = "none"


class LoggerName(StrEnum):
    """A program that records runs; its name is that of its extra."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    MLFLOW = "mlflow"
    TRACKIO = "trackio"


ReportTo = tuple[LoggerName, ...]
LOGGER_WORDS = (NONE, *LoggerName)


def parse_report_to(text: str) -> ReportTo | None:
    """Read a comma-separated list of loggers; `None` for `none`.

    Raises:
        ConfigError: With one problem per unknown name.
    """
    names = [name for part in text.split(",") if (name := part.strip().lower())]
    unknown = [name for name in dict.fromkeys(names) if name not in LOGGER_WORDS]
    if unknown or not names:
        wrong = unknown or [text]
        raise ConfigError(*(say.choice_unknown(n, LOGGER_WORDS).at("--report-to") for n in wrong))
    return tuple(logger for logger in LoggerName if logger in names) or None


def report_to_as_text(loggers: ReportTo | None) -> str:
    """Text that `parse_report_to` reads back."""
    return NONE if loggers is None else ",".join(loggers)
