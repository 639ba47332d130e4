"""Finding tensors stored in MXFP4 among those of a folder: each pair becomes one dense entry.

Published gpt-oss has the experts of a layer as `gate_up_proj_blocks` and `gate_up_proj_scales`,
the same for `down_proj`, beside dense biases. Nothing is read here; `containers.mxfp4_reader`
makes the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vox_populi.containers.mxfp4_info import BLOCKS, SCALES, Mxfp4Info
from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.hf.quantization_config import Mxfp4Form
from vox_populi.operator_messages import mxfp4 as say
from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem
from vox_tensor.mxfp4_format import BLOCK_BYTES
from vox_tensor.problem_log import ProblemLog

_BYTES = "U8"
_DIMENSIONS = 4
"""Experts, output features, blocks of a row, bytes of a block."""


@dataclass(frozen=True, slots=True)
class Mxfp4Tensors:
    """The tensors of a folder with one entry for each pair of parts."""

    tensors: list[TensorInfo]
    problems: ProblemLog


def join_parts(
    stored: Sequence[TensorInfo], form: Mxfp4Form | None, model_dir: Path, config_name: str
) -> Mxfp4Tensors:
    """Put the entry of a dense tensor in place of each pair of blocks and scales.

    Args:
        stored: Every tensor of the folder.
        form: What the config says of MXFP4; `None` if nothing.
        model_dir: The folder.
        config_name: Its config, the place of a contradiction.
    """
    found = Mxfp4Tensors([], ProblemLog(str(model_dir)))
    pairs = dict(_pairs(stored))
    in_config = str(model_dir / config_name)
    if form is None:
        found.tensors.extend(stored)
        whole = next((parts for parts in pairs.values() if len(parts) > 1), None)
        if whole is not None:
            found.problems.add([say.mxfp4_not_announced(whole[BLOCKS].name).at(in_config)])
        return found
    taken = {info.name for parts in pairs.values() for info in parts.values()}
    found.tensors.extend(info for info in stored if info.name not in taken)
    if not pairs:
        found.problems.add([say.MXFP4_ANNOUNCED_ONLY.at(in_config)])
    for name, parts in pairs.items():
        problems = list(_part_problems(name, parts, model_dir))
        pattern = form.pattern_for(name.rpartition(".")[0])
        if pattern is not None:
            reason = f"is in MXFP4, but modules_to_not_convert has {clipped(pattern)}"
            problems.append(say.mxfp4_part_wrong(name, reason).at(in_config))
        found.problems.add(problems)
        if not problems:
            found.tensors.append(Mxfp4Info.of(name, parts[BLOCKS], parts[SCALES]))
    return found


def _pairs(stored: Sequence[TensorInfo]) -> Iterator[tuple[str, Mapping[str, TensorInfo]]]:
    """The parts of each tensor that has any, by its name."""
    names: dict[str, dict[str, TensorInfo]] = {}
    for info in stored:
        for ending in (BLOCKS, SCALES):
            if info.name.endswith(ending):
                names.setdefault(info.name.removesuffix(ending), {})[ending] = info
    yield from names.items()


def _part_problems(
    name: str, parts: Mapping[str, TensorInfo], model_dir: Path
) -> Iterator[Problem]:
    for ending, other in ((BLOCKS, SCALES), (SCALES, BLOCKS)):
        if ending not in parts:
            info = parts[other]
            where = str(model_dir / info.shard)
            yield say.mxfp4_part_missing(info.name, f"{name}{ending}").at(where)
            return
    for info in parts.values():
        if info.dtype != _BYTES:
            reason = f"has the type {info.dtype}, not {_BYTES}"
            yield say.mxfp4_part_wrong(info.name, reason).at(str(model_dir / info.shard))
            return
    blocks, scales = parts[BLOCKS], parts[SCALES]
    if len(blocks.shape) != _DIMENSIONS or blocks.shape[-1] != BLOCK_BYTES or 0 in blocks.shape:
        reason = f"has the shape {clipped(list(blocks.shape))}, not [experts, rows, blocks, 16]"
        yield say.mxfp4_part_wrong(blocks.name, reason).at(str(model_dir / blocks.shard))
    elif scales.shape != blocks.shape[:-1]:
        expected = clipped(list(blocks.shape[:-1]))
        reason = f"has the shape {clipped(list(scales.shape))}, but its blocks need {expected}"
        yield say.mxfp4_part_wrong(scales.name, reason).at(str(model_dir / scales.shard))
