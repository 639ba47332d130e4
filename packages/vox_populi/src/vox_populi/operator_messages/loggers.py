"""Warnings about loggers (`--report-to`); a run continues without them."""

from __future__ import annotations

from vox_populi.operator_messages.wording import clipped


def logger_failed(name: str, reason: str) -> str:
    """A logger raised an error."""
    return f"{name} failed ({clipped(reason)}); the run continues without it"


def logger_too_slow(name: str, waiting: int) -> str:
    """A logger that does not keep up."""
    return f"{name} is too slow: {waiting:,} values are waiting; the run continues without it"


def logger_not_done(name: str, seconds: float) -> str:
    """A logger that did not finish in time."""
    return f"{name} did not finish within {seconds:g} seconds; its last values may be missing"
