"""What decides the content of a cache entry, and so its name."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

from vox_populi.data.row_cache.columns import id_type
from vox_populi.data.row_files.row_file import RowFile
from vox_populi.data.row_reader import RowEncoder
from vox_populi.data.row_scan import DatasetOptions
from vox_populi.files.plain_values import as_plain
from vox_populi.files.whole_file import canonical_json
from vox_populi.version import __version__
from vox_tensor.regular_file import open_regular

FORMAT_VERSION = 2
ENTRY_PREFIX = "rows-"
_DECIDING = ("vox_populi.data", "vox_populi.hf", "vox_tensor")
"""Packages whose code decides which ids a row becomes."""


def entry_key(
    rows: RowFile, encoder: RowEncoder, options: DatasetOptions, settings: object
) -> dict[str, object]:
    """Everything that decides an entry's content, as digests: prompts and filters are private.

    Args:
        rows: The file.
        encoder: Tokenizer and text policy.
        options: Which rows are used.
        settings: What the tokenizer's digest does not say.
    """
    policy = encoder.policy
    private = {
        "policy": as_plain(replace(policy, own=None)),
        # Where a template was found decides nothing: an adapter records it as well.
        "own": None if policy.own is None else policy.own.digest,
        "options": as_plain(options),
        "settings": settings,
        # Where content does not tell the format, the end of a name decides.
        "name_ends": ["".join(path.suffixes).lower() for path in rows.files],
    }
    return {
        "format_version": FORMAT_VERSION,
        "code": _code_digest(),
        "byteorder": sys.byteorder,
        "data": rows.digest,
        "tokenizer": encoder.tokenizer.digest,
        "request": _digest(private),
        "id_code": id_type(encoder.tokenizer.vocab_size),
    }


def entry_name(key: dict[str, object]) -> str:
    """Folder name of an entry."""
    return f"{ENTRY_PREFIX}{_digest(key)[:32]}"


def _digest(content: Mapping[str, object]) -> str:
    text = canonical_json(content).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()


@cache
def _code_digest() -> str:
    """Hash of the version and of the sources that decide ids: another version encodes again."""
    digest = hashlib.sha256(__version__.encode())
    for package in _DECIDING:
        found = importlib.util.find_spec(package)
        for folder in (found.submodule_search_locations or ()) if found else ():
            for path in sorted(Path(folder).rglob("*.py")):
                with open_regular(path) as source:
                    digest.update(hashlib.file_digest(source, "sha256").digest())
    return digest.hexdigest()
