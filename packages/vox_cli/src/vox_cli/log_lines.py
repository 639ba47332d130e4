"""Log records of our packages as lines on standard error, while a command runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

OUR_LOGGERS = ("vox_cli", "vox_populi", "vox_tensor")
logger = logging.getLogger(__name__)


@contextmanager
def log_lines(stream: TextIO, *, verbose: bool, quiet: bool) -> Iterator[None]:
    """Show warnings; `verbose` also shows what happens and how long it took, `quiet` nothing."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("note: %(message)s"))
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
