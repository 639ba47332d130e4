"""Writing files of a run folder atomically, and JSON in the two forms they use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from vox_populi.errors import EnvironmentFailure
from vox_populi.operator_messages import environment as say
from vox_tensor.atomic_file import replaced_file

Chunk = bytes | memoryview


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Report every `OSError` in the block as a failure to write this file or folder.

    Raises:
        EnvironmentFailure: For an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise EnvironmentFailure(say.file_not_written(error).at(str(path))) from error


def write_whole(path: Path, *chunks: Chunk) -> None:
    """Write a file so that a crash at any moment leaves the old or the new one.

    Raises:
        EnvironmentFailure: With the file and the system's reason; nothing is left behind.
    """
    with writing(path), replaced_file(path) as file:
        for chunk in chunks:
            file.write(chunk)


def canonical_json(value: Mapping[str, object]) -> str:
    """The unique text of a value: sorted keys, no spaces; NaN and infinities are refused."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


OWN_DIGEST = "manifest_sha256"
"""Key of a manifest's digest of all its other fields."""


def with_own_digest(document: Mapping[str, object]) -> dict[str, object]:
    """A document and, last, the SHA-256 of its canonical JSON."""
    return {**document, OWN_DIGEST: _document_digest(document)}


def fits_own_digest(raw: Mapping[str, object]) -> bool:
    """Whether a document matches its own digest."""
    document = {name: value for name, value in raw.items() if name != OWN_DIGEST}
    return raw[OWN_DIGEST] == _document_digest(document)


def _document_digest(document: Mapping[str, object]) -> str:
    return hashlib.sha256(canonical_json(document).encode("utf-8", "surrogatepass")).hexdigest()


def pretty_json(value: Mapping[str, object]) -> bytes:
    """JSON for people, in the order given, with a final newline."""
    return (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
