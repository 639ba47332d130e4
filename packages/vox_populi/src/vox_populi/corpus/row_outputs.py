"""Writing files of rows: all of a command's files or none, and never over an input."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from vox_populi.data.row_files.file_content import file_digest
from vox_populi.errors import DataError, PreflightError
from vox_populi.files.made_folders import made_folder
from vox_populi.files.output_guard import Reads, require_apart
from vox_populi.operator_messages import corpus_files as say
from vox_tensor import data_messages
from vox_tensor.atomic_file import replaced_file
from vox_tensor.errors import Problem
from vox_tensor.jsonl import jsonl_line


class RowFileWriter:
    """Writes rows to a temporary file and hashes them."""

    def __init__(self, path: Path, handle: IO[bytes]) -> None:
        self.path = path
        self.n_rows = 0
        self._handle = handle
        self._digest = hashlib.sha256()

    def write(self, row: Mapping[str, object]) -> None:
        """Add a row as a line of JSON."""
        self.write_bytes(jsonl_line(row))
        self.n_rows += 1

    def write_bytes(self, data: bytes) -> None:
        """Add bytes of a file in another format."""
        self._handle.write(data)
        self._digest.update(data)

    def replaces_other(self) -> bool:
        """Whether a file with different content exists at the path."""
        if not os.path.lexists(self.path):
            return False
        if not self.path.exists():
            return True  # a link to nowhere
        return file_digest(self.path) != f"sha256:{self._digest.hexdigest()}"

    def settle(self) -> None:
        """Wait until the rows are on the disk: a full one must show before any file is renamed."""
        self._handle.flush()
        os.fsync(self._handle.fileno())


def check_row_outputs(outputs: Mapping[str, Path], inputs: Sequence[Path]) -> None:
    """Refuse outputs that overlap an input or each other, or are not regular files.

    Args:
        outputs: Path of each output by the flag that sets it.
        inputs: Files that the command reads.

    Raises:
        PreflightError: For an output that overlaps an input, through any link or spelling.
        DataError: For two outputs in one file, or a folder or device in the place of one.
    """
    seen: dict[str, str] = {}
    for flag, path in outputs.items():
        try:
            require_apart(path, Reads(whole=tuple(inputs)))
        except PreflightError:
            raise PreflightError(say.row_output_overlaps(flag).at(str(path))) from None
        real = os.path.realpath(path)
        if real in seen:
            raise DataError(say.row_outputs_equal(seen[real], flag).at(str(path)))
        seen[real] = flag
        if path.exists() and not path.is_file():
            raise DataError(data_messages.NOT_A_REGULAR_FILE.at(str(path)))


@contextmanager
def row_outputs(
    paths: Sequence[Path],
    *,
    force: bool,
    occupied: Callable[[str], Problem] = say.ROW_FILE_OCCUPIED.at,
) -> Iterator[tuple[RowFileWriter, ...]]:
    """Open a temporary file for each path; they replace the paths when the block succeeds.

    Args:
        paths: Files that `check_row_outputs` has accepted.
        force: Whether files with different content may be replaced.
        occupied: The problem of one that may not.

    Raises:
        DataError: When a file with different content exists and `force` is off; nothing is
            replaced then.
        OSError: When a file cannot be written; nothing is left behind.
    """
    with ExitStack() as stack:
        writers = []
        for path in paths:
            stack.enter_context(made_folder(path.parent))
            writers.append(RowFileWriter(path, stack.enter_context(replaced_file(path))))
        yield tuple(writers)
        kept = [each.path for each in writers if not force and each.replaces_other()]
        if kept:
            raise DataError(*(occupied(str(path)) for path in kept))
        for writer in writers:
            writer.settle()
