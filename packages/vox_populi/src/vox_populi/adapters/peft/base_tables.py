"""Tables of the base that a PEFT folder brings along, compared with the base's own. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.containers.tensor_reader import read_tensor
from vox_populi.errors import ArtifactError
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import HEAD_WEIGHT, embedding_key
from vox_populi.operator_messages import export as say


def require_base_tables(
    path: Path, found: Mapping[str, TensorInfo], tables: Mapping[str, str], base: ModelInventory
) -> None:
    """Refuse a folder whose copy of a table differs from the base's: its update would be lost.

    Args:
        path: The PEFT container.
        found: Its tensors.
        tables: Names of tables in it, with their names in the base; see `stored_tables`.
        base: The base.

    Raises:
        ArtifactError: With every table that differs.
        ModelError: When a table cannot be read.
    """
    differing = [
        name for name, theirs in tables.items() if not _is_same(path, found[name], theirs, base)
    ]
    if differing:
        raise ArtifactError(*(say.peft_table_differs(name).at(str(path)) for name in differing))


def _is_same(path: Path, info: TensorInfo, name: str, base: ModelInventory) -> bool:
    """Whether a table has the base's values, in whatever type it is stored."""
    if name == HEAD_WEIGHT and base.tied_head:
        name = embedding_key(base.config)
    own = base.tensors.get(name)
    if own is None or own.shape != info.shape:
        return False
    theirs, ours = read_tensor(path, info), read_tensor(base.model_dir / own.shard, own)
    if theirs.dtype == ours.dtype:
        return torch.equal(theirs, ours)
    # PEFT may store a table in the number type in which it computed.
    narrow = theirs.dtype if theirs.element_size() < ours.element_size() else ours.dtype
    return torch.equal(theirs.to(narrow), ours.to(narrow)) and torch.equal(
        theirs.to(narrow).to(theirs.dtype), theirs
    )
