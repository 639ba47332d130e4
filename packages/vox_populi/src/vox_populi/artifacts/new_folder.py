"""A folder that appears by one rename, complete, and never over something that is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vox_populi import operator_messages as say
from vox_populi.errors import EnvironmentFailure, PreflightError
from vox_populi.operator_messages import interop
from vox_tensor.atomic_file import sync_folder


def check_new_folder(path: Path) -> None:
    """Refuse a place where no new folder can appear: taken, a link, or no folder at all.

    Raises:
        PreflightError: When something is there; an empty folder is nothing.
        EnvironmentFailure: When it is a link, a file, or cannot be looked into.
    """
    if path.is_symlink():
        raise EnvironmentFailure(say.output_folder_is_link(str(path)))
    try:
        is_taken = any(path.iterdir())
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        raise EnvironmentFailure(say.output_not_a_folder(str(path))) from error
    except OSError as error:
        raise EnvironmentFailure(say.file_not_written(str(path), error)) from error
    if is_taken:
        raise PreflightError(interop.export_target_exists(str(path)))


def check_new_file(path: Path) -> None:
    """Refuse a place where no new file can appear.

    Raises:
        PreflightError: When something is there, be it a link to nothing.
    """
    if path.exists() or path.is_symlink():
        raise PreflightError(interop.export_target_exists(str(path)))


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary folder beside `path` that takes this name when the block ends well.

    Everything written with `write_whole` is on disk before the rename, and the rename is on disk
    before this returns. When the block raises, nothing is left.

    Raises:
        PreflightError: When something is there already.
        EnvironmentFailure: When the system refuses.
    """
    check_new_folder(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        sync_folder(temporary)
        # On POSIX this replaces an empty folder, and fails on any other.
        if os.name == "nt" and path.is_dir():
            path.rmdir()
        temporary.rename(path)
        sync_folder(path.parent)
    except (FileExistsError, NotADirectoryError) as error:
        raise EnvironmentFailure(say.output_not_a_folder(str(path))) from error
    except OSError as error:
        raise EnvironmentFailure(say.file_not_written(str(path), error)) from error
    finally:
        with suppress(OSError):
            shutil.rmtree(temporary)
