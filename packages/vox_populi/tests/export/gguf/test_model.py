"""Whole models as GGUF files, read with the package's own reader."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vox_populi.export.consumers import GgufType
from vox_populi.export.gguf.model import GgufSource, write_model_gguf
from vox_populi.export.gguf.text import GgufText
from vox_populi.export.gguf.vocabulary import NORMAL, GgufVocabulary
from vox_populi.hf.family_registry import FAMILIES
from vox_populi.hf.keymap import TensorKey, tensor_keys
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.hf.model_family import ModelFamily

gguf = pytest.importorskip("gguf", reason="needs vox-populi[gguf]")


def places(key: TensorKey) -> Tensor:
    return torch.arange(math.prod(key.shape)).view(key.shape).float()


def written(config: ModelConfig, folder: Path) -> Any:
    """A reader of the file of a model whose numbers are its places."""
    source = GgufSource(
        config=config,
        name="tiny",
        where="here",
        tensors=[(key, partial(places, key)) for key in tensor_keys(config) if key.required],
    )
    size = config.vocab_size
    vocabulary = GgufVocabulary(
        pre="gpt-2", tokens=tuple(map(str, range(size))), types=(NORMAL,) * size, merges=()
    )
    text = GgufText(templates={}, bos_id=None, eos_id=None, eot_id=None)
    write_model_gguf(folder / "m.gguf", source, GgufType.F32, vocabulary, text)
    return gguf.GGUFReader(folder / "m.gguf")


WRITTEN = [family for family in FAMILIES if family.gguf.architecture is not None]


@pytest.mark.parametrize("family", WRITTEN, ids=lambda family: family.name)
def test_every_family_has_a_name_for_each_of_its_tensors(
    family: ModelFamily, tmp_path: Path
) -> None:
    config = parse_model_config(family.tiny, "test")
    reader = written(config, tmp_path)
    found = {tensor.name: tensor for tensor in reader.tensors}
    keys = [key for key in tensor_keys(config) if key.required]
    of_the_rotation = {name for name in found if name.startswith("rope_factors")}
    assert len(found) == len(keys) + len(of_the_rotation)
    assert bool(of_the_rotation) == (config.rope is not None and bool(config.rope.long_factors))


def test_longrope_is_a_factor_two_lists_and_a_shorter_context(tmp_path: Path) -> None:
    family = next(family for family in FAMILIES if family.name == "phi3")
    config = parse_model_config(family.tiny, "test")
    assert config.rope is not None
    reader = written(config, tmp_path)
    found = {tensor.name: tensor.data for tensor in reader.tensors}
    assert found["rope_factors_long.weight"].tolist() == list(config.rope.long_factors)
    assert found["rope_factors_short.weight"].tolist() == list(config.rope.short_factors)
    fields = {
        "context_length": 4,
        "rope.dimension_count": 4,
        "rope.scaling.original_context_length": 4,
        "rope.scaling.attn_factor": math.sqrt(1 + math.log(32 / 4) / math.log(4)),
    }
    for name, value in fields.items():
        field = reader.get_field(f"phi3.{name}")
        assert field.contents() == pytest.approx(value), name
    assert reader.get_field("phi3.rope.scaling.type") is None
