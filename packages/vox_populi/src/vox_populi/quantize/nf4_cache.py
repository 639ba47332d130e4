"""Quantised bases on disk, for later runs with the same base.

A cache entry is a folder in bitsandbytes' layout whose name is the digest of the base and of the
quantiser's settings; its `nf4_cache.json` has the SHA-256 of every file. An entry is checked before
use, and appears in one rename.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from vox_populi.errors import EnvironmentFailure, ModelError
from vox_populi.files.file_digest import content_digest
from vox_populi.files.removal import is_own_folder
from vox_populi.files.staged_folder import StagedFolder
from vox_populi.files.strict_json import read_json_object
from vox_populi.files.whole_file import canonical_json, pretty_json
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.model_config import CONFIG_NAME
from vox_populi.operator_messages import environment as say_environment
from vox_populi.operator_messages import quantize as say_quantize
from vox_populi.quantize.nf4_folder import plan_nf4_folder, write_nf4_folder
from vox_tensor.nf4_levels import Nf4Settings

CACHE_MANIFEST = "nf4_cache.json"
SCHEMA_VERSION = 1
_MAX_SHARD_BYTES = 5 * 10**9
_LOCKED = say_environment.folder_locked("").code


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedBase:
    """A quantised base to load, and a note about it."""

    inventory: ModelInventory
    """The cache entry's inventory, or the base's own if no entry can be used."""
    notes: tuple[str, ...]


def cached_base(
    inventory: ModelInventory, settings: Nf4Settings, cache_dir: Path | None, base_digest: str
) -> CachedBase:
    """The quantised base in a cache folder, built or rebuilt if needed.

    Loading the result gives the same numbers as loading `inventory` itself. A base that is already
    quantised or incomplete is returned as it is.

    Args:
        inventory: The base; artifacts still record its digest.
        settings: How to quantise.
        cache_dir: Folder of quantised bases; with `None` the base is returned as it is.
        base_digest: Digest of the base's files, `hf.inventory.base_digest`.

    Raises:
        ModelError: For a value of the base that is not finite.
        EnvironmentFailure: When the cache folder cannot be written.
    """
    if cache_dir is None or inventory.nf4:
        return CachedBase(inventory=inventory, notes=())  # The plan has said so.
    if inventory.missing:
        note = say_quantize.note_nf4_cache_unused("the base is not complete")
        return CachedBase(inventory=inventory, notes=(note,))
    table, source = inventory.config.modules, inventory.config.source
    tells_apart = table is not None and bool(table.experts)
    facts = _facts(settings, base_digest, tells_apart=tells_apart)
    entry = cache_dir / cache_entry_name(settings, base_digest, tells_apart=tells_apart)
    found = _read_entry(entry, facts, source)
    if isinstance(found, ModelInventory):
        return _used(entry, found)
    try:
        staged = StagedFolder.create(entry, force=True)
    except EnvironmentFailure as error:
        if any(problem.code == _LOCKED for problem in error.problems):
            note = say_quantize.note_nf4_cache_busy(str(entry))
            return CachedBase(inventory=inventory, notes=(note,))
        raise
    with staged:
        # Whoever held the lock before us may have finished the entry.
        found = _read_entry(entry, facts, source)
        if isinstance(found, ModelInventory):
            return _used(entry, found)
        _fill(staged, facts, inventory, settings)
        kept = staged.publish()
    rest = None if kept is None else _remove_entry(kept, entry)
    made = read_inventory(entry, allow_nf4=True, source=source)
    notes = [say_quantize.note_nf4_cache_damaged(str(entry), found)] if found else []
    notes += [] if rest is None else [say_quantize.note_nf4_cache_rest(str(rest))]
    return CachedBase(
        inventory=made, notes=(*notes, say_quantize.note_nf4_cache_written(str(entry)))
    )


def cache_entry_name(settings: Nf4Settings, base_digest: str, *, tells_apart: bool = False) -> str:
    """Folder name of a base's entry, which differs for every base, setting and layout."""
    text = canonical_json(_facts(settings, base_digest, tells_apart=tells_apart))
    return f"nf4-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _facts(settings: Nf4Settings, base_digest: str, *, tells_apart: bool) -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "base_digest": base_digest,
        "base_quant": "nf4",
        **asdict(settings),
        # Without it experts that a class of transformers holds together are dense.
        **({"experts": True} if tells_apart else {}),
    }


def _used(entry: Path, inventory: ModelInventory) -> CachedBase:
    note = say_quantize.note_nf4_cache_used(str(entry))
    return CachedBase(inventory=inventory, notes=(note,))


def _read_entry(
    entry: Path, facts: Mapping[str, object], source: GraphSource
) -> ModelInventory | str:
    """The entry with every byte checked, or its problem; nothing if it does not exist."""
    try:
        names = sorted(each.name for each in entry.iterdir())
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise EnvironmentFailure(say_environment.file_not_written(error).at(str(entry))) from error
    if not names:
        return ""
    try:
        manifest = read_json_object(entry / CACHE_MANIFEST)
        files = manifest.pop("files", None)
        if manifest != facts or not isinstance(files, dict):
            return f"{CACHE_MANIFEST} does not describe it"
        for name, digest in files.items():
            if Path(name).name != name or content_digest(entry / name) != digest:
                return f"{name} has changed since it was written"
        found = read_inventory(entry, allow_nf4=True, source=source)
        if unnamed := {CONFIG_NAME, *found.shards} - files.keys():
            return f"{CACHE_MANIFEST} does not list {min(unnamed)}"
    except ModelError as error:
        return error.problems[0].what.rstrip(".")
    return found


def _remove_entry(old: Path, new: Path) -> Path | None:
    """Remove the files of a damaged entry; return the folder's path if other files remain in it."""
    written = {each.name for each in new.iterdir()}
    for each in old.iterdir():
        if each.name in written and not is_own_folder(each):
            with suppress(OSError):
                each.unlink()
    try:
        old.rmdir()
    except OSError:
        return old
    return None


def _fill(
    staged: StagedFolder,
    facts: Mapping[str, object],
    inventory: ModelInventory,
    settings: Nf4Settings,
) -> None:
    plan = plan_nf4_folder(inventory, settings, _MAX_SHARD_BYTES)
    digests = write_nf4_folder(plan, inventory, settings, staged, with_side_files=False)
    files = {name: digests[name] for name in sorted(digests)}
    staged.write(CACHE_MANIFEST, pretty_json({**facts, "files": files}))
