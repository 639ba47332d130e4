"""LoRA adapters as GGUF files, written and read back with the package `gguf` (extra `gguf`).

llama.cpp computes `y = W x + (alpha / rank) * B (A x)` with the rank taken from the tensors, and
finds A and B of a weight as `<weight>.lora_a` and `<weight>.lora_b`. Its Llama models store the
rows of the q and k projections in a different order (pairs of a rotation side by side), so B's
rows are moved too. GPT-2's weights are `[out, in]` there, like ours.
Shape letters: R rank, I input features, O output features, H heads, E head dim.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vox_populi import extras
from vox_populi.errors import EnvironmentFailure
from vox_populi.export.consumers import name_alone
from vox_populi.files.new_file import sync_file
from vox_populi.files.whole_file import writing
from vox_populi.hf.keymap import AdapterModule, ProjectionRole
from vox_populi.hf.model_config import ModelConfig
from vox_populi.operator_messages import export as say_export


def write_lora_gguf(
    path: Path,
    alpha: float,
    modules: Sequence[AdapterModule],
    tensors: Mapping[str, Tensor],
    config: ModelConfig,
) -> None:
    """Write an adapter and check every value in the file.

    Args:
        path: A new file.
        alpha: Chosen so that alpha / rank is the scale of B A.
        modules: The adapted projections.
        tensors: By our names: A `[R, I]`, B `[O, R]`, float32.
        config: The base's config.

    Raises:
        MissingExtraError: Without the extra `gguf`.
        EnvironmentFailure: When the system refuses, or the file reads back differently.
    """
    gguf = extras.load("gguf")
    architecture = gguf.MODEL_ARCH[config.family.gguf.architecture]
    named = dict(_named(gguf, architecture, modules, tensors, config))
    with writing(path):
        writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[architecture])
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
        for name, tensor in named.items():
            writer.add_tensor(name, tensor.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        sync_file(path)
    different = next(_differences(gguf, path, alpha, named), None)
    if different is not None:
        raise EnvironmentFailure(say_export.exported_file_differs(different).at(str(path)))


def read_lora_gguf(path: Path) -> tuple[float, dict[str, Tensor]]:
    """Alpha and the tensors of an adapter, each in the shape that torch would give it.

    Raises:
        MissingExtraError: Without the extra `gguf`.
    """
    gguf = extras.load("gguf")
    reader = gguf.GGUFReader(path)
    alpha = float(reader.get_field(gguf.Keys.Adapter.LORA_ALPHA).contents())
    # The reader gives views of a mapped file, which must not outlive it.
    return alpha, {tensor.name: torch.from_numpy(tensor.data.copy()) for tensor in reader.tensors}


def _named(
    gguf: Any,
    architecture: Any,
    modules: Sequence[AdapterModule],
    tensors: Mapping[str, Tensor],
    config: ModelConfig,
) -> Iterator[tuple[str, Tensor]]:
    """Tensors by llama.cpp's names, in forward order."""
    names = gguf.get_tensor_name_map(architecture, config.n_layers)
    for module in modules:
        theirs = name_alone(config, module.theirs)
        weight = names.get_name(f"{theirs}.weight", try_suffixes=(".weight",))
        assert weight is not None, f"gguf knows no name for {module.theirs}"
        b_OR = tensors[f"{module.ours}.lora_B"]
        yield f"{weight}.lora_a", tensors[f"{module.ours}.lora_A"].contiguous()
        yield f"{weight}.lora_b", rows_as_stored(b_OR, module.roles[0], config).contiguous()


def rows_as_stored(tensor: Tensor, role: ProjectionRole, config: ModelConfig) -> Tensor:
    """A tensor with one row per output feature, in llama.cpp's order of rows."""
    heads = {ProjectionRole.Q: config.n_heads, ProjectionRole.K: config.n_kv_heads}
    if not config.family.gguf.paired_rotation or role not in heads:
        return tensor
    n_heads, rest = heads[role], tensor.shape[1:]
    halves = tensor.reshape(n_heads, 2, tensor.shape[0] // n_heads // 2, *rest)
    return halves.swapaxes(1, 2).reshape(tensor.shape)


def _differences(gguf: Any, path: Path, alpha: float, named: Mapping[str, Tensor]) -> Iterator[str]:
    """Names of tensors that read back differently."""
    found_alpha, found = read_lora_gguf(path)
    if torch.tensor(found_alpha) != torch.tensor(alpha, dtype=torch.float32):
        yield str(gguf.Keys.Adapter.LORA_ALPHA)
    for name in sorted(named.keys() | found.keys()):
        if name not in named or name not in found or not torch.equal(found[name], named[name]):
            yield name
