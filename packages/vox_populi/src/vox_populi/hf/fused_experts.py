"""Tensors that hold all experts of a layer, read as one tensor per expert and projection.

Published folders have a matrix for each projection of each expert; transformers 5 holds them in two
tensors per layer, and can save them so. In these the rows of one matrix follow each other in the
file, so a part is a range of bytes, and a reader need not know that it is a part.
Letters: N experts, X width of an expert, D model width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vox_populi.containers.mxfp4_info import Mxfp4Info
from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.hf.experts_place import ExpertsPlace
from vox_populi.hf.model_config import ModelConfig
from vox_populi.hf.model_family import ExpertNames


@dataclass(frozen=True, slots=True)
class FusedTensor:
    """One tensor with all experts of a layer: `[N, rows, columns]`."""

    name: str
    """Canonical Hugging Face name."""
    shape: tuple[int, int, int]
    parts: tuple[tuple[str, tuple[int, int]], ...]
    """Canonical name and shape of every matrix, in the order of their rows."""

    def split(self, info: TensorInfo) -> Iterator[tuple[str, TensorInfo]]:
        """Each matrix's name and its range in the file; `info` must have the right size."""
        if isinstance(info, Mxfp4Info):
            # Only whole tensors of experts are in this form, each with one matrix.
            for number, (name, _) in enumerate(self.parts):
                yield name, info.expert(number, _spelled(info, name))
            return
        n_values = self.shape[0] * self.shape[1] * self.shape[2]
        start = info.start
        for name, shape in self.parts:
            end = start + info.n_bytes * (shape[0] * shape[1]) // n_values
            yield name, TensorInfo(_spelled(info, name), info.dtype, shape, info.shard, start, end)
            start = end


_EXPERTS = ".experts."


def _spelled(info: TensorInfo, name: str) -> str:
    """What a part of a tensor is called in messages."""
    return f"{info.name}: {name.partition(_EXPERTS)[2]}"


def fused_tensors(config: ModelConfig) -> Mapping[str, FusedTensor]:
    """Every tensor with all experts of a layer that a folder of this model may have, by name."""
    if config.modules is not None:
        places = config.modules.experts
        return {each.name: each for place in places for each in _of_class(place)}
    names, experts = config.family.tensors.experts, config.experts
    if names is None or experts is None:
        return {}
    fused = (
        _fused(config, names, f"{config.family.tensors.blocks}{layer}.{names.experts}", name)
        for layer in range(config.n_layers)
        if config.is_mixture(layer)
        for name in names.fused
    )
    return {each.name: each for each in fused}


def _of_class(place: ExpertsPlace) -> Iterator[FusedTensor]:
    """The tensors of a class of transformers, under its own names and the published ones."""
    for tensor, parts in place.tensors.items():
        matrices = tuple(
            (f"{place.published[part.name][expert]}.weight", part.shape)
            for expert in range(place.count)
            for part in parts
        )
        own = f"{place.path}.{tensor}"
        for name in {own: None, place.stored.get(tensor, own): None}:
            yield FusedTensor(name, place.whole_shape(tensor), matrices)


def _fused(config: ModelConfig, names: ExpertNames, prefix: str, name: str) -> FusedTensor:
    assert config.experts is not None, "only a mixture has experts"
    count, width = config.experts.count, config.experts.width
    modules = names.fused[name]
    is_down = modules == ("down",)
    rows, columns = (config.hidden_size, width) if is_down else (width, config.hidden_size)
    return FusedTensor(
        name=f"{prefix}{name}",
        shape=(count, rows * len(modules), columns),
        parts=tuple(
            (f"{prefix}{expert}.{names.each[module]}.weight", (rows, columns))
            for expert in range(count)
            for module in modules
        ),
    )
