"""Writing a page: whole or not at all, and over nothing that somebody may miss."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from vox_populi.errors import PreflightError
from vox_populi.files.made_folders import made_folder
from vox_populi.files.whole_file import write_whole, writing
from vox_populi.operator_messages import row_checks as say
from vox_populi.pages.markup import Markup


def require_free(output: Path, inputs: Iterable[Path], *, force: bool) -> None:
    """Refuse a place where something exists, before the work of a report is done.

    Args:
        output: The future page.
        inputs: Files that are read; none is replaced, whatever their spelling.
        force: Whether a regular file may be replaced.

    Raises:
        PreflightError: When it may not be written there.
    """
    where = str(output)
    for source in inputs:
        if output.exists() and source.exists() and output.samefile(source):
            raise PreflightError(say.report_is_input(str(source)).at(where))
    if not os.path.lexists(output):
        return
    if not stat.S_ISREG(output.lstat().st_mode):
        raise PreflightError(say.REPORT_NOT_A_FILE.at(where))
    if not force:
        raise PreflightError(say.REPORT_OCCUPIED.at(where))


def write_page(output: Path, page: Markup) -> None:
    """Write a page atomically, and its folder if that is missing.

    Raises:
        EnvironmentFailure: When it cannot be written; the old content stays.
    """
    with writing(output), made_folder(output.parent):
        write_whole(output, page.encode("utf-8"))
