"""One digest over several files, which ties an adapter to the weights it was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from vox_populi.files.model_file import open_model_file


def digest_of_files(paths: Sequence[Path]) -> str:
    """SHA-256 over the name and the content of each file, in order of the names.

    Files are streamed. The outer hash takes one line per file, `<sha256 of content> <name>`,
    so that bytes cannot move from one file to the next unnoticed; folders do not count.

    Raises:
        ModelError: When a file is missing or cannot be read.
    """
    return digest_of_contents({path.name: content_digest(path) for path in paths})


def digest_of_contents(contents: Mapping[str, str]) -> str:
    """`digest_of_files` of files whose contents are hashed already: name to `content_digest`."""
    outer = hashlib.sha256()
    for name in sorted(contents):
        outer.update(f"{contents[name]} {name}\n".encode())
    return f"sha256:{outer.hexdigest()}"


def content_digest(path: Path) -> str:
    """SHA-256 of one file's content, in hexadecimal; the file is streamed.

    Raises:
        ModelError: When it is missing or cannot be read.
    """
    with open_model_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
