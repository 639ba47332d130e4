"""Names of adapted layers in adapters of version 2 and 3: `l0.q`, `mid0`, `lm_head`. No torch here.

A full graph names layer and projection; the proxy graph counts its middle blocks in key order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from vox_populi.adapters.header import (
    AdaptedModule,
)
from vox_populi.contract.choices import GraphId
from vox_populi.hf.keymap import BLOCK_PARTS, HEAD

_PATHS = {path.rpartition(".")[2]: path for path in BLOCK_PARTS}
"""Our path within a block of every projection, by its last word."""
QLORA_ADAPTER_FILE = "candle_qlora_adapter.safetensors"
LORA_ADAPTER_FILE = "adapter.safetensors"
"""Adapter file of a version 3 set whose method is lora."""
HALVES = ((".lora_a", ".lora_A"), (".lora_b", ".lora_B"))
"""Endings of tensor names in the file, and ours."""

_OURS = re.compile(rf"blocks\.(\d+)\.({'|'.join(map(re.escape, BLOCK_PARTS))})")
_OWN = r"[A-Za-z_]\w*(?:\.\w+)+"
"""A layer that our transformer has none of: its path in its block in transformers."""
_FOREIGN = re.compile(rf"blocks\.(\d+)\.({_OWN})")
_FULL = re.compile(rf"l(?P<layer>0|[1-9]\d*)\.(?P<part>{'|'.join(_PATHS)}|lin_[a-z]+|{_OWN})")
_MIDDLE = re.compile(r"mid(?P<number>0|[1-9]\d*)")


def v3_file(folder: Path) -> Path:
    """The safetensors file of a folder; a QLoRA adapter's if neither exists."""
    lora, qlora = folder / LORA_ADAPTER_FILE, folder / QLORA_ADAPTER_FILE
    return lora if lora.exists() and not qlora.exists() else qlora


def logical_names(graph: GraphId, modules: Sequence[AdaptedModule]) -> dict[str, str]:
    """The names in the file of our modules, in the given order.

    Args:
        graph: The graph they are adapted in.
        modules: In forward order, which is key order.

    Raises:
        ValueError: For a graph or a module that has no such name.
    """
    names: dict[str, str] = {}
    for module in modules:
        is_middle = graph == GraphId.PROXY_STACK and module.ours != HEAD
        names[module.ours] = f"mid{len(names)}" if is_middle else _full_name(graph, module.ours)
    if HEAD in names and next(reversed(names)) != HEAD:
        message = f"{HEAD} must come last"
        raise ValueError(message)
    return names


def ours_of_full(logical: str) -> str | None:
    """Our name of a full graph's layer, or `None` if we have no such layer."""
    if logical == HEAD:
        return HEAD
    found = _FULL.fullmatch(logical)
    path = _path(found["part"]) if found else None
    return f"blocks.{found['layer']}.{path}" if found and path else None


def _path(part: str) -> str | None:
    """Our path of a projection within its block."""
    return part if "." in part else _PATHS.get(part)


def graph_of_names(names: Sequence[str]) -> GraphId | None:
    """The graph that a list of layers belongs to, or `None` if there is none."""
    others = [name for name in names if name != HEAD]
    if not others:
        return GraphId.HEAD_ONLY if names else None
    if all(_MIDDLE.fullmatch(name) for name in others):
        return GraphId.PROXY_STACK
    return GraphId.FULL if all(_FULL.fullmatch(name) for name in others) else None


def features_of(logical: str, *, vocab: int, d_model: int) -> tuple[int | None, int | None]:
    """Input and output features of a layer; `None` if they do not follow from its name."""
    if logical == HEAD:
        return d_model, vocab
    if _MIDDLE.fullmatch(logical):
        return d_model, d_model
    found = _FULL.fullmatch(logical)
    part = found["part"] if found else ""
    if "." in part:
        return None, None
    if part in ("o", "down", "lin_o"):
        return None, d_model
    return (d_model, None) if part else (None, None)


def _full_name(graph: GraphId, ours: str) -> str:
    if ours == HEAD:
        return HEAD
    usual = _OURS.fullmatch(ours)
    found = usual or _FOREIGN.fullmatch(ours)
    if found is None or graph != GraphId.FULL:
        message = f"{ours!r} has no name in the graph {graph}"
        raise ValueError(message)
    part = found[2].rpartition(".")[2] if usual else found[2]
    return f"l{found[1]}.{part}"
