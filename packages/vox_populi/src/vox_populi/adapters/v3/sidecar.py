"""Finding and reading the sidecar of an adapter of version 2 or 3. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vox_populi.adapters.v3.facts import AdapterFacts
from vox_populi.adapters.v3.manifest import (
    MANIFEST_V3_FILE,
    V3_FORMATS,
    OurManifest,
    parse_manifest_v3,
)
from vox_populi.adapters.v3.version2 import META_V2_FILE, V2_FORMATS, parse_meta_v2
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.files.strict_json import read_json_object
from vox_populi.operator_messages import adapter as say

SIDECAR_NAMES = (
    MANIFEST_V3_FILE,
    "adapter_manifest.json",
    META_V2_FILE,
    "adapter_meta_v2.json",
    "meta.json",
)
"""Names of sidecars, in search order."""

_ANYBODYS_NAMES = frozenset({"adapter_manifest.json", "meta.json"})
_MAX_BYTES = 16 * 2**20
_COMPARED = ("layer_order", "base_key_map", "vocab", "d_model", "rank", "alpha", "method")
_COMPARED_IF_SAID = ("embed_key", "base_model")
"""Fields that files of the source system may omit."""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The contents of a sidecar."""

    path: Path
    facts: AdapterFacts
    ours: OurManifest | None
    """The contents of one of our manifests."""


def find_sidecar(adapter: Path, meta: Path | None = None) -> Sidecar:
    """The sidecar chosen by the operator, or the one next to an adapter or in its folder.

    If there are several, they must describe the same adapter.

    Raises:
        ArtifactError: When there is none, for one that cannot be used, and for contradictions.
    """
    if meta is not None:
        return read_sidecar(meta)
    found = list(_beside(adapter if adapter.is_dir() else adapter.parent))
    if not found:
        raise ArtifactError(say.sidecar_missing(SIDECAR_NAMES).at(str(adapter)))
    first, *others = found
    for other in others:
        fields = _differing(first.facts, other.facts)
        if fields:
            raise ArtifactError(say.sidecars_differ(first.path.name, fields).at(str(other.path)))
    return first


def read_sidecar(path: Path) -> Sidecar:
    """Read one sidecar; its format says which version it is.

    Raises:
        ArtifactError: For a file that is not a sidecar, and for every problem of one.
    """
    try:
        raw = read_json_object(path, _MAX_BYTES)
    except ModelError as error:
        raise ArtifactError(*error.problems) from error
    found = raw.get("format")
    if found in V2_FORMATS:
        return Sidecar(path, parse_meta_v2(raw, path), None)
    if found not in V3_FORMATS:
        known = (*V3_FORMATS, *V2_FORMATS)
        raise ArtifactError(say.sidecar_format_unknown(found, known).at(str(path)))
    manifest = parse_manifest_v3(raw, path)
    if isinstance(manifest, OurManifest):
        return Sidecar(path, manifest.facts, manifest)
    return Sidecar(path, manifest, None)


def _beside(folder: Path) -> Iterator[Sidecar]:
    unknown: ArtifactError | None = None
    count = 0
    for name in SIDECAR_NAMES:
        path = folder / name
        if not (path.exists() or path.is_symlink()):
            continue
        try:
            sidecar = read_sidecar(path)
        except ArtifactError as error:
            code = say.sidecar_format_unknown(None, ()).code
            # Other programs write files of these names, too.
            if name not in _ANYBODYS_NAMES or error.problems[0].code != code:
                raise
            unknown = error
            continue
        count += 1
        yield sidecar
    if unknown is not None and not count:
        raise unknown


def _differing(left: AdapterFacts, right: AdapterFacts) -> tuple[str, ...]:
    fields = [name for name in _COMPARED if getattr(left, name) != getattr(right, name)]
    for name in _COMPARED_IF_SAID:
        said = (getattr(left, name), getattr(right, name))
        if None not in said and said[0] != said[1]:
            fields.append(name)
    return tuple(fields)
