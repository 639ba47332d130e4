"""`model_merged.bin`: a whole model under our names, a safetensors container with our header.

Tensors are stored as in the base, also GPT-2's Conv1D weights `[in, out]`, which the header lists.
The weights are read like those of a model folder: `MergedFile.inventory`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vox_populi.adapters.header import AdapterHeader, parse_header
from vox_populi.containers.dtypes import CONFIG_NAME_OF
from vox_populi.containers.file_ranges import open_ranges, read_range
from vox_populi.containers.safetensors_header import SafetensorsHeader, read_header
from vox_populi.containers.tensor_comparison import Unexpected, tensor_differences
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.files.json_fields import FieldError, take_object
from vox_populi.files.strict_json import parse_json_object
from vox_populi.files.whole_file import canonical_json
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import HEAD_WEIGHT, tensor_keys
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.operator_messages import merge as say

MERGED_FILE = "model_merged.bin"
MERGED_FORMAT = "vox_mens_merged_bin"
MERGED_VERSION = "1"
NO_DIGEST = "sha256:" + "0" * 64
"""Placeholder digest of an unfinished file; as long as a real one."""
_TRANSPOSED = "stored_transposed"
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedFile:
    """The header of a merged model; its weights stay in the file."""

    path: Path
    inventory: ModelInventory
    """Inventory as for a model folder, for `model.hf_load.load_base`."""
    adapter: AdapterHeader
    """Header of the merged adapter: tokenizer, template, base and more."""
    config: Mapping[str, object]
    """Content of the model's `config.json`."""


def merged_metadata(
    config: Mapping[str, object], adapter: AdapterHeader, digest: str = NO_DIGEST
) -> dict[str, str]:
    """The container's metadata.

    Args:
        config: Content of the model's `config.json`.
        adapter: Header of the merged adapter.
        digest: `content_digest` of the file, once it is known.
    """
    parsed = parse_model_config(config, "config")
    header = {
        "config": dict(config),
        "adapter": parse_json_object(adapter.to_json().encode(), "adapter"),
        _TRANSPOSED: _stored_transposed(parsed),
    }
    return {
        "format": MERGED_FORMAT,
        "version": MERGED_VERSION,
        "header": canonical_json(header),
        "digest": digest,
    }


def merged_content_digest(path: Path) -> str:
    """Digest over the header and the numbers in the order of their names; reads all of the file.

    Raises:
        ArtifactError: When the file is not a valid container or cannot be read.
    """
    container = _container(path)
    content = hashlib.sha256(container.metadata.get("header", "").encode())
    try:
        with open_ranges(path) as reader:
            for name in sorted(container.tensors):
                info = container.tensors[name]
                for block in reader.blocks(info.start, info.n_bytes, _BLOCK_BYTES):
                    content.update(block)
    except ModelError as error:
        raise ArtifactError(*error.problems) from error
    return f"sha256:{content.hexdigest()}"


def sign_merged_file(path: Path) -> None:
    """Write the digest of a finished file in place of `NO_DIGEST`.

    Raises:
        ArtifactError: When the file cannot be read.
        OSError: When the system refuses to write.
    """
    container = _container(path)
    place = read_range(path, 0, container.data_start).index(NO_DIGEST.encode())
    descriptor = os.open(path, os.O_WRONLY | getattr(os, "O_BINARY", 0))
    try:
        os.lseek(descriptor, place, os.SEEK_SET)
        os.write(descriptor, merged_content_digest(path).encode())
    finally:
        os.close(descriptor)


def read_merged_file(path: Path, *, verify: bool = True) -> MergedFile:
    """Read and check a merged model's header.

    Args:
        path: The `model_merged.bin`.
        verify: Compare the content with the file's own digest, which reads all of it.

    Raises:
        ArtifactError: For a foreign or damaged file, an unknown version, and tensors that are
            missing, unexpected or misshaped.
    """
    container = _container(path)
    metadata = container.metadata
    if metadata.get("format") != MERGED_FORMAT or "header" not in metadata:
        raise ArtifactError(say.merged_file_invalid("it has a different format").at(str(path)))
    version = metadata.get("version")
    if version != MERGED_VERSION:
        raise ArtifactError(say.merged_file_version_unknown(version, MERGED_VERSION).at(str(path)))
    try:
        raw = parse_json_object(metadata["header"].encode("utf-8", "surrogatepass"), "header")
        config = take_object(raw, "config")
        parsed = parse_model_config(config, str(path))
        adapter = parse_header(canonical_json(take_object(raw, "adapter")))
        _require_orientation(raw, parsed)
    except ModelError as error:
        reason = error.problems[0].what
        raise ArtifactError(say.merged_file_invalid(reason).at(str(path))) from error
    except FieldError as error:
        raise ArtifactError(say.merged_file_invalid(str(error)).at(str(path))) from error
    inventory = _inventory(path, container, parsed)
    if verify and metadata.get("digest") != merged_content_digest(path):
        raise ArtifactError(say.MERGED_FILE_DAMAGED.at(str(path)))
    return MergedFile(path=path, inventory=inventory, adapter=adapter, config=config)


def _stored_transposed(config: ModelConfig) -> list[str]:
    return [key.ours for key in tensor_keys(config) if key.transposed]


def _require_orientation(raw: Mapping[str, object], config: ModelConfig) -> None:
    if raw.get(_TRANSPOSED) != _stored_transposed(config):
        message = f"{_TRANSPOSED} does not match the config"
        raise FieldError(message)


def _container(path: Path) -> SafetensorsHeader:
    try:
        return read_header(path)
    except ModelError as error:
        raise ArtifactError(*error.problems) from error


def _inventory(path: Path, container: SafetensorsHeader, config: ModelConfig) -> ModelInventory:
    keys = {key.ours: key for key in tensor_keys(config)}
    expected = {
        name: key.shape for name, key in keys.items() if key.required or name in container.tensors
    }
    found = {name: container.tensors[name] for name in sorted(container.tensors)}
    for difference in tensor_differences(expected, found, CONFIG_NAME_OF):
        reason = f"the tensor {difference.name} is missing or misshaped"
        if isinstance(difference, Unexpected):
            reason = f"the tensor {difference.name} does not belong to it"
        raise ArtifactError(say.merged_file_invalid(reason).at(str(path)))
    tensors = {keys[name].theirs: container.tensors[name] for name in expected}
    # The writer names a head only when it is one of its own.
    is_tied = config.tie_word_embeddings and HEAD_WEIGHT not in tensors
    return ModelInventory(
        model_dir=path.parent,
        config=replace(config, tie_word_embeddings=is_tied),
        tensors=tensors,
        shards=(path.name,),
        total_bytes=sum(info.n_bytes for info in tensors.values()),
        tied_head=is_tied,
    )
