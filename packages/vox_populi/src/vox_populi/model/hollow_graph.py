"""A graph of a model folder, before its weights are read."""

from __future__ import annotations

import torch

from vox_populi.hf.inventory import ModelInventory
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.model.transformer import Transformer
from vox_populi.model.transformers_graph import graph_of_folder


def hollow_graph(inventory: ModelInventory, dtype: torch.dtype) -> CausalGraph:
    """Our transformer, or that of transformers, with tensors that have no values yet.

    Args:
        inventory: The folder's contents.
        dtype: Type of the weights to come.

    Raises:
        ModelError: When the config cannot be read any more.
    """
    if inventory.config.modules is not None:
        return graph_of_folder(inventory, dtype)
    with torch.device("meta"):
        return Transformer(inventory.config)
