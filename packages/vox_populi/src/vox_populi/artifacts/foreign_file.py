"""Telling a pickle, a zip and the like from a safetensors container by the first bytes. No torch."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from vox_populi import operator_messages as say
from vox_populi.errors import ArtifactError

_LENGTH_BYTES = 8
_KNOWN_STARTS = (
    (b"PK\x03\x04", "a zip archive, as torch.save writes: a pickle inside"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"GGUF", "a GGUF model"),
    (b"\x1f\x8b", "gzip-compressed"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself"),
)


def refuse_foreign_container(path: Path) -> None:
    """Let pass only what may be a safetensors container.

    Raises:
        ArtifactError: For a missing path, anything but a regular file, and a file whose first
            bytes are those of another format, saying which and how to convert it.
    """
    start = _first_bytes(path)
    if _may_be_safetensors(start):
        return
    kind = next((kind for magic, kind in _KNOWN_STARTS if start.startswith(magic)), None)
    if kind is None and _is_old_pickle(start):
        kind = "a pickle"
    if kind is not None:
        raise ArtifactError(say.adapter_is_foreign(str(path), kind))


def _first_bytes(path: Path) -> bytes:
    try:
        # Without O_NONBLOCK, opening a FIFO waits for a writer that may never come.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as error:
        raise ArtifactError(say.artifact_missing(str(path))) from error
    except (OSError, ValueError) as error:
        raise ArtifactError(say.adapter_unreadable(str(path), str(error))) from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ArtifactError(say.artifact_not_regular(str(path)))
        return file.read(64)


def _may_be_safetensors(start: bytes) -> bool:
    """A length that leaves its upper half zero, then a JSON object.

    A length of 640 begins with the bytes of a pickle, so magic numbers alone do not decide.
    """
    return start[4:_LENGTH_BYTES] == bytes(4) and start[_LENGTH_BYTES:].startswith(b"{")


def _is_old_pickle(start: bytes) -> bool:
    """Protocols 0 and 1 have no magic; these are the openings of dicts, lists and globals."""
    return start.startswith((b"(dp", b"(lp", b"(i", b"c__builtin__", b"cos\n", b"cposix\n", b"}q"))
