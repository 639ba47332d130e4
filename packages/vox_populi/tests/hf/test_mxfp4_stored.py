"""Pairs of blocks and scales among the tensors of a folder, by their headers alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from vox_populi.containers.mxfp4_info import Mxfp4Info
from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.hf.config_fields import ConfigFields
from vox_populi.hf.mxfp4_stored import Mxfp4Tensors, join_parts
from vox_populi.hf.quantization_config import Mxfp4Form, parse_mxfp4

EXPERTS = "model.layers.0.mlp.experts.gate_up_proj"
NORM = TensorInfo("model.norm.weight", "BF16", (64,), "a.safetensors", 8, 136)


def entry(name: str, shape: tuple[int, ...], dtype: str = "U8", start: int = 136) -> TensorInfo:
    size = 1
    for each in shape:
        size *= each
    return TensorInfo(name, dtype, shape, "a.safetensors", start, start + size)


BLOCKS = entry(f"{EXPERTS}_blocks", (4, 6, 2, 16))
SCALES = entry(f"{EXPERTS}_scales", (4, 6, 2), start=904)


ANNOUNCED = Mxfp4Form()


def joined(*stored: TensorInfo, form: Mxfp4Form | None = ANNOUNCED) -> Mxfp4Tensors:
    return join_parts(stored, form, Path("folder"), "config.json")


def test_a_pair_is_one_dense_tensor_of_all_experts() -> None:
    found = joined(NORM, BLOCKS, SCALES)
    assert not found.problems
    assert found.tensors[0] == NORM
    assert NORM.parts == (NORM,)
    (dense,) = found.tensors[1:]
    assert isinstance(dense, Mxfp4Info)
    assert (dense.name, dense.dtype, dense.shape) == (EXPERTS, "BF16", (4, 64, 6))
    assert dense.n_bytes == 2 * 4 * 64 * 6
    assert dense.parts == (BLOCKS, SCALES)
    assert (dense.shard, dense.start) == (BLOCKS.shard, BLOCKS.start)


@pytest.mark.parametrize(
    ("stored", "code", "words"),
    [
        ((BLOCKS,), "MENS-H253", f"{EXPERTS}_scales"),
        ((SCALES,), "MENS-H253", f"{EXPERTS}_blocks"),
        ((entry(BLOCKS.name, BLOCKS.shape, "I8"), SCALES), "MENS-H254", "I8, not U8"),
        ((BLOCKS, entry(SCALES.name, SCALES.shape, "F32")), "MENS-H254", "F32, not U8"),
        ((BLOCKS, entry(SCALES.name, (4, 6, 3))), "MENS-H254", "[4, 6, 3]"),
        ((entry(BLOCKS.name, (4, 6, 2, 8)), SCALES), "MENS-H254", "[4, 6, 2, 8]"),
        ((entry(BLOCKS.name, (24, 2, 16)), SCALES), "MENS-H254", "[24, 2, 16]"),
        ((NORM,), "MENS-H256", "mxfp4"),
    ],
)
def test_damage_is_one_problem_with_the_tensor_and_the_file(
    stored: tuple[TensorInfo, ...], code: str, words: str
) -> None:
    (problem,) = joined(*stored).problems.shown()
    assert problem.code == code
    assert words in problem.what
    assert problem.where is not None
    assert problem.where.startswith("folder/")


def test_what_the_config_says_must_be_so() -> None:
    (silent,) = joined(NORM, BLOCKS, SCALES, form=None).problems.shown()
    assert silent.code == "MENS-H257"
    listed = Mxfp4Form(("model.layers.*.mlp.experts",))
    (dense,) = joined(NORM, BLOCKS, SCALES, form=listed).problems.shown()
    assert dense.code == "MENS-H254"
    assert "modules_to_not_convert" in dense.what
    others = Mxfp4Form(("model.layers.*.self_attn", "model.layers.*.mlp.router", "lm_head"))
    assert not joined(NORM, BLOCKS, SCALES, form=others).problems
    # Experts that are stored dense stay so; a half of another name is no pair.
    dense_info = TensorInfo(EXPERTS, "BF16", (4, 64, 6), "a.safetensors", 136, 3208)
    assert joined(NORM, dense_info, form=None).tensors == [NORM, dense_info]


@pytest.mark.parametrize(
    ("entry", "module", "covers"),
    [
        ("model.layers.1", "model.layers.1.mlp.experts", True),
        ("model.layers.1", "model.layers.11.mlp.experts", False),
        ("model.layers.*.mlp", "model.layers.11.mlp.experts", True),
        ("experts", "model.layers.11.mlp.experts", True),
        ("(a+)+$", "model.layers.11.mlp.experts", False),
    ],
)
def test_entries_cover_modules_as_in_transformers(entry: str, module: str, covers: bool) -> None:
    assert (Mxfp4Form((entry,)).pattern_for(module) is not None) is covers


def test_the_list_of_a_config_is_read_with_its_type() -> None:
    fields = ConfigFields({"quantization_config": {"quant_method": "mxfp4"}}, "config.json")
    assert parse_mxfp4(fields) == Mxfp4Form()
    other = ConfigFields({"quantization_config": {"quant_method": "fp8"}}, "config.json")
    assert parse_mxfp4(other) is None
    wrong = {"quant_method": "mxfp4", "modules_to_not_convert": "lm_head"}
    fields = ConfigFields({"quantization_config": wrong}, "config.json")
    assert parse_mxfp4(fields) == Mxfp4Form()
    assert len(fields.problems) == 1
