"""Adapters of the QLoRA backend for tests of what reads them: ours, and the source system's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vox_populi.adapters.header import (
    AdaptedModule,
    AdapterHeader,
    Quantization,
)
from vox_populi.adapters.v3.files import write_qlora_adapter
from vox_populi.adapters.v3.manifest import V3Facts
from vox_populi.adapters.v3.names import QLORA_ADAPTER_FILE
from vox_populi.contract.choices import GraphId, TokenizerKind
from vox_populi.data.training_text import ChatTemplate
from vox_populi.hf.inventory import base_digest, read_inventory
from vox_populi.hf.keymap import ProjectionRole, adapter_modules, embedding_key
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4_levels import Nf4Settings

QUANTIZATION = Quantization(nf4=Nf4Settings(block_size=32, double_quant=True), compute_dtype="f32")
V2_NAME = "candle_qlora_adapter_meta.json"


def qlora_header(base: Path, graph: GraphId = GraphId.FULL, *, head: bool = False) -> AdapterHeader:
    """The header of an adapter on every projection, or on the layers that the proxy trains."""
    inventory = read_inventory(base, allow_nf4=True)
    is_proxy = graph != GraphId.FULL
    modules = [
        module
        for module in adapter_modules(inventory.config)
        if (ProjectionRole.LM_HEAD in module.roles and (head or is_proxy))
        or (ProjectionRole.LM_HEAD not in module.roles and not is_proxy)
        or (module.roles == (ProjectionRole.O,) and graph == "proxy_stack_v1_residual")
    ]
    return AdapterHeader(
        lora=LoraSpec(rank=2, alpha=5.0),
        modules=tuple(AdaptedModule.of(module) for module in modules),
        base_name=base.name,
        base_digest=base_digest(inventory),
        model_type=inventory.config.model_type,
        tokenizer=TokenizerKind.HF,
        tokenizer_digest="sha256:11",
        template=ChatTemplate.CHATML,
        template_digest="sha256:22",
        system_prompt=None,
        seq_len=64,
        contract_digest="sha256:33",
        step=5,
        graph=graph,
        quantization=QUANTIZATION,
    )


def qlora_tensors(header: AdapterHeader, spread: float = 0.1) -> dict[str, Tensor]:
    """Updates that matter, the same ones for the same header."""
    generator = torch.Generator().manual_seed(3)
    return {
        name: spread * torch.randn(shape, generator=generator)
        for name, shape in header.tensor_shapes().items()
    }


def write_own(
    folder: Path,
    base: Path,
    graph: GraphId = GraphId.FULL,
    *,
    head: bool = False,
    spread: float = 0.1,
    tensors: Mapping[str, Tensor] | None = None,
    **changes: Any,
) -> tuple[AdapterHeader, dict[str, Tensor]]:
    """The files of an adapter of ours; what it holds."""
    header = replace(qlora_header(base, graph, head=head), **changes)
    held = dict(tensors or qlora_tensors(header, spread))
    config = read_inventory(base, allow_nf4=True).config
    facts = V3Facts(
        vocab=config.vocab_size,
        d_model=config.hidden_size,
        embed_key=embedding_key(config),
        is_head_tied=config.tie_word_embeddings,
        training_objective_note=None,
        provenance=None,
    )
    folder.mkdir(parents=True)
    write_qlora_adapter(folder, header, held, facts)
    return header, held


def write_source(
    folder: Path,
    layers: Mapping[str, tuple[str, Tensor, Tensor]],
    *,
    vocab: int,
    d_model: int,
    alpha: float = 5,
    version: int = 2,
    **changes: Any,
) -> Path:
    """An adapter as the source system writes it, with one sidecar; that sidecar.

    Args:
        folder: Is made.
        layers: Name to base key, A `[R, I]` and B `[O, R]`.
        vocab: Rows of the embedding table.
        d_model: Its columns.
        alpha: Of the scale.
        version: Of the sidecar.
        changes: Fields of the sidecar that are to be others.
    """
    folder.mkdir(parents=True)
    tensors = {
        f"{name}.lora_{half}": tensor
        for name, (_, a, b) in layers.items()
        for half, tensor in (("a", a), ("b", b))
    }
    save_file(tensors, folder / QLORA_ADAPTER_FILE)
    keys = {name: key for name, (key, _, _) in layers.items()}
    said: dict[str, object] = {
        "version": version,
        "vocab": vocab,
        "d_model": d_model,
        "rank": next(iter(layers.values()))[1].shape[0],
        "alpha": alpha,
        "layer_order": list(layers),
        "base_key_map": keys,
    }
    if version == 2:
        said |= {"format": "vox_mens_qlora_lora_only_v2", "embed_key": keys.get("lm_head", "x")}
        path = folder / V2_NAME
    else:
        quant = {"base_quant": "nf4", "double_quant": True}
        said |= {"format": "vox_mens_adapter", "adapter_method": "qlora", "quant": quant}
        path = folder / "populi_adapter_manifest_v3.json"
    path.write_text(json.dumps(said | changes), encoding="utf-8")
    return path


def rewrite_tensors(folder: Path, **changes: Tensor | None) -> None:
    """Change tensors under an adapter's sidecars: `None` takes one away, `__` is a dot."""
    path = folder / QLORA_ADAPTER_FILE
    tensors = load_file(path)
    for name, tensor in changes.items():
        key = name.replace("__", ".")
        if tensor is None:
            del tensors[key]
        else:
            tensors[key] = tensor
    save_file(tensors, path)
