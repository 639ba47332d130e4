"""One digest over several files, which ties an adapter to the weights it was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from vox_populi import operator_messages as say
from vox_populi.errors import ModelError
from vox_populi.hf.strict_json import open_regular


def digest_of_files(paths: Sequence[Path]) -> str:
    """SHA-256 over the name and the content of each file, in order of the names.

    Files are streamed. The outer hash takes one line per file, `<sha256 of content> <name>`,
    so that bytes cannot move from one file to the next unnoticed; folders do not count.

    Raises:
        ModelError: When a file is missing or cannot be read.
    """
    outer = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.name):
        outer.update(f"{_content_digest(path)} {path.name}\n".encode())
    return f"sha256:{outer.hexdigest()}"


def _content_digest(path: Path) -> str:
    with open_regular(path) as handle:
        try:
            return hashlib.file_digest(handle, "sha256").hexdigest()
        except OSError as error:
            reason = error.strerror or "reading failed"
            raise ModelError(say.model_file_unreadable(str(path), reason)) from None
