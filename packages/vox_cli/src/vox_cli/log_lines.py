"""Log records of our packages as lines on standard error, while a command runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vox_cli.terminal import STDERR

OUR_LOGGERS = ("vox_cli", "vox_populi", "vox_tensor")
logger = logging.getLogger(__name__)


class _ErrorLines(logging.Handler):
    """A record is a line; one that cannot be written is lost."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):
            STDERR.line(f"note: {record.getMessage()}")


@contextmanager
def log_lines(*, verbose: bool, quiet: bool) -> Iterator[None]:
    """Show warnings; `verbose` also shows what happens and how long it took, `quiet` nothing."""
    handler = _ErrorLines()
    level = logging.CRITICAL if quiet else logging.INFO if verbose else logging.WARNING
    started = time.perf_counter()
    for name in OUR_LOGGERS:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(level)
    try:
        yield
        logger.info("took %.1f s", time.perf_counter() - started)
    finally:
        for name in OUR_LOGGERS:
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).setLevel(logging.NOTSET)
