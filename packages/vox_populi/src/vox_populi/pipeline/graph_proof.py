"""Proving a class of transformers before it is used. torch is imported where there is one."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from vox_populi import extras
from vox_populi.files.strict_json import parse_json_object, read_json_object
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.kept_bytes import KeptByBlocks
from vox_populi.hf.model_config import CONFIG_NAME, ModelConfig
from vox_populi.hf.own_mlps import mlp_paths
from vox_populi.plan.graph_choice import GraphChoice
from vox_populi.plan.packing_proof_facts import PackingProof

_MAX_CONFIG_BYTES = 8 * 1024 * 1024


def proven(inventory: ModelInventory, chosen: GraphChoice, device: str) -> GraphChoice:
    """The same choice, with what was measured of the class if transformers computes the graph.

    Args:
        inventory: The base.
        chosen: The choice.
        device: Where it will be trained.

    Raises:
        ModelError: For a class that cannot be tried.
    """
    if chosen.proxy is not None:
        return chosen
    proof = proof_of(inventory.config, inventory.model_dir, device)
    if proof is None:
        return chosen
    text, where = _config_text(inventory.model_dir)
    return replace(chosen, proof=proof, kept=partial(_counted, text, where))


def proof_of(config: ModelConfig, model_dir: Path, device: str) -> PackingProof | None:
    """What was measured of a folder's class of transformers; `None` for our own graph.

    Raises:
        ModelError: For a class that cannot be tried.
    """
    table = config.modules
    if table is None:
        return None
    found = _measured(*_config_text(model_dir), device)
    return PackingProof(
        class_name=table.class_name,
        version=table.version,
        alone=found.alone,
        marked=found.marked,
        blocks_passed=found.blocks_passed,
        packed=found.packed,
        gradients=found.gradients,
        refused=found.refused,
        repeats=found.repeats,
        has_mlps=bool(mlp_paths(table)),
        kernels=found.kernels,
    )


def _config_text(model_dir: Path) -> tuple[str, str]:
    """The content of a folder's config in one form, and the name of the file."""
    path = model_dir / CONFIG_NAME
    return json.dumps(read_json_object(path, _MAX_CONFIG_BYTES), sort_keys=True), str(path)


@cache
def _measured(config: str, where: str, device: str) -> Any:
    """What was measured of a config, once in a process; it takes a fifth of a second."""
    raw = parse_json_object(config.encode(), where)
    return extras.load("vox_populi.model.packing_proof").measure_packing(raw, where, device)


@cache
def _counted(config: str, where: str, dtype: str, row: int) -> KeptByBlocks | None:
    """What the blocks of a class keep of a row; some tenths of a second for many of them."""
    raw = parse_json_object(config.encode(), where)
    found: KeptByBlocks | None = extras.load("vox_populi.model.kept_values").count_kept(
        raw, where, dtype, row
    )
    return found
