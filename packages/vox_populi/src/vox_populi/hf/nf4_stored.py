"""Finding and checking weights packed in NF4 by bitsandbytes among a folder's tensors.

A packed `X.weight` is uint8 `[ceil(n / 2), 1]`; with it come `X.weight.absmax` (float32 per block,
or uint8 with double quantisation, plus `.nested_absmax` and `.nested_quant_map`), `.quant_map`
(the 16 levels) and `.quant_state.bitsandbytes__nf4`, a JSON object as bytes. Only that object and
the levels are read here; whether the numbers are finite is checked when they are loaded.
"""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from vox_populi.containers.dtypes import CONFIG_NAME_OF
from vox_populi.containers.file_ranges import read_range
from vox_populi.containers.safetensors_header import TensorInfo
from vox_populi.errors import ModelError
from vox_populi.files.strict_json import parse_json_object
from vox_populi.hf.keymap import TensorKey
from vox_populi.operator_messages import quantize as say_quantize
from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem
from vox_tensor.nf4_levels import BLOCK_SIZES, GROUP_SIZE, NF4_LEVELS, Nf4Settings

WEIGHT = "weight"
ABSMAX = "absmax"
QUANT_MAP = "quant_map"
NESTED_ABSMAX = "nested_absmax"
NESTED_QUANT_MAP = "nested_quant_map"
QUANT_STATE = "quant_state.bitsandbytes__nf4"

DYNAMIC_LEVELS = 256
"""Number of entries of `nested_quant_map`."""

_PART = re.compile(
    r"(.+\.weight)\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.\w+)"
)
_MAX_STATE_BYTES = 4096
_LARGEST_F32 = 3.4028234663852886e38
_LEVEL_BYTES = struct.pack(f"<{len(NF4_LEVELS)}f", *NF4_LEVELS)
_STATE_KEYS = frozenset({"quant_type", "blocksize", "dtype", "shape"})
_NESTED_KEYS = frozenset({"nested_blocksize", "nested_dtype", "nested_offset"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Nf4Stored:
    """One packed weight: the location of its parts, and its quant state."""

    parts: Mapping[str, TensorInfo]
    """Parts by the names above: `weight`, `absmax`, `quant_map`, …"""
    settings: Nf4Settings
    shape: tuple[int, ...]
    """Shape of the dense matrix in our orientation, `[out, in]`, also for Conv1D layers."""
    dtype: str
    """Original dtype, as torch names it: `float32`, `bfloat16` or `float16`."""
    nested_offset: float | None
    """Mean of the block magnitudes; `None` without double quantisation."""

    @property
    def n_bytes(self) -> int:
        """Size of all parts."""
        return sum(info.n_bytes for info in self.parts.values())

    @property
    def n_values(self) -> int:
        """Number of values of the dense matrix."""
        return prod(self.shape)


def part_name(weight: str, part: str) -> str:
    """Name of a part's tensor: `X.weight` itself, or `X.weight.absmax` and so on."""
    return weight if part == WEIGHT else f"{weight}.{part}"


def part_shapes(
    shape: tuple[int, ...], settings: Nf4Settings
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type (by its safetensors name) and shape of each part but the quant state.

    Args:
        shape: Of the dense matrix.
        settings: How it is quantised.
    """
    n = prod(shape)
    n_blocks = -(-n // settings.block_size)
    parts: dict[str, tuple[str, tuple[int, ...]]] = {
        WEIGHT: ("U8", (-(-n // 2), 1)),
        ABSMAX: ("U8" if settings.double_quant else "F32", (n_blocks,)),
        QUANT_MAP: ("F32", (len(NF4_LEVELS),)),
    }
    if settings.double_quant:
        parts[NESTED_ABSMAX] = ("F32", (-(-n_blocks // GROUP_SIZE),))
        parts[NESTED_QUANT_MAP] = ("F32", (DYNAMIC_LEVELS,))
    return parts


def quant_state(
    shape: tuple[int, ...], block_size: int, dtype: str, nested_offset: float | None
) -> dict[str, object]:
    """Content of the quant state for a weight that we write; see `Nf4Stored` for the fields."""
    state: dict[str, object] = {
        "quant_type": "nf4",
        "blocksize": block_size,
        "dtype": dtype,
        "shape": list(shape),
    }
    if nested_offset is not None:
        state |= {"nested_blocksize": GROUP_SIZE, "nested_dtype": "float32"}
        state["nested_offset"] = nested_offset
    return state


def packed_parts(tensors: Mapping[str, TensorInfo]) -> dict[str, dict[str, TensorInfo]]:
    """Parts of packed weights by the weight's name and the part's; a lone uint8 weight is one."""
    found: dict[str, dict[str, TensorInfo]] = defaultdict(dict)
    for name, info in tensors.items():
        match = _PART.fullmatch(name)
        if match:
            found[match[1]][match[2]] = info
        elif info.dtype == "U8" and name.endswith(".weight"):
            found[name][WEIGHT] = info
    for name, parts in found.items():
        if WEIGHT not in parts and name in tensors:
            parts[WEIGHT] = tensors[name]
    return dict(found)


def read_packed_weight(
    model_dir: Path, key: TensorKey, parts: Mapping[str, TensorInfo]
) -> tuple[Nf4Stored | None, list[Problem]]:
    """Check the parts of one weight against the model and against each other.

    Args:
        model_dir: Holds the shards.
        key: The weight, as the model has it.
        parts: The existing parts.

    Raises:
        ModelError: When a file cannot be read any more.
    """
    weight = key.theirs
    missing = [part for part in (WEIGHT, ABSMAX, QUANT_MAP, QUANT_STATE) if part not in parts]
    if missing:
        where = str(model_dir)
        return None, [say_quantize.nf4_part_missing(weight, part).at(where) for part in missing]
    stored, reason = _read_state(model_dir, key, parts)
    if stored is None:
        return None, [_wrong(model_dir, parts[QUANT_STATE], reason)]
    problems = list(_part_problems(model_dir, weight, stored))
    if not problems and _read(model_dir, parts[QUANT_MAP]) != _LEVEL_BYTES:
        problems.append(_wrong(model_dir, parts[QUANT_MAP], "does not have the 16 levels of nf4"))
    return (None if problems else stored), problems


def _part_problems(model_dir: Path, weight: str, stored: Nf4Stored) -> Iterator[Problem]:
    expected = part_shapes(stored.shape, stored.settings)
    for part in expected.keys() - stored.parts.keys():
        yield say_quantize.nf4_part_missing(weight, part).at(str(model_dir))
    for part, info in stored.parts.items():
        if part == QUANT_STATE:
            continue
        if part not in expected:
            yield _wrong(model_dir, info, "does not belong to a weight quantised like this")
            continue
        dtype, shape = expected[part]
        if (info.dtype, info.shape) != (dtype, shape):
            found = f"{info.dtype} {clipped(list(info.shape))}"
            yield _wrong(model_dir, info, f"is {found}, not {dtype} {list(shape)}")


def _read_state(
    model_dir: Path, key: TensorKey, parts: Mapping[str, TensorInfo]
) -> tuple[Nf4Stored | None, str]:
    """The weight as its quant state describes it, or the state's problem."""
    info = parts[QUANT_STATE]
    if info.dtype != "U8" or len(info.shape) != 1 or info.n_bytes > _MAX_STATE_BYTES:
        return None, "is not a JSON object in bytes"
    try:
        state = parse_json_object(_read(model_dir, info), info.name)
    except ModelError as error:
        details = "; ".join(problem.what.rstrip(".") for problem in error.problems)
        return None, f"is not a valid quant state: {details}"
    double_quant = bool(_NESTED_KEYS & state.keys())
    reason = _state_problem(state, key, double_quant=double_quant)
    if reason:
        return None, reason
    block_size, offset = state["blocksize"], state.get("nested_offset")
    assert isinstance(block_size, int)
    return Nf4Stored(
        parts=parts,
        settings=Nf4Settings(block_size=block_size, double_quant=double_quant),
        shape=key.our_shape,
        dtype=str(state["dtype"]),
        nested_offset=float(offset) if isinstance(offset, int | float) else None,
    ), ""


def _state_problem(state: Mapping[str, object], key: TensorKey, *, double_quant: bool) -> str:
    expected = _STATE_KEYS | (_NESTED_KEYS if double_quant else frozenset())
    if state.keys() != expected:
        return f"has not exactly the fields {', '.join(sorted(expected))}"
    allowed: dict[str, tuple[object, ...]] = {
        "quant_type": ("nf4",),
        "blocksize": BLOCK_SIZES,
        "dtype": tuple(CONFIG_NAME_OF.values()),
        "shape": (list(key.our_shape),),
    }
    if double_quant:
        allowed |= {"nested_blocksize": (GROUP_SIZE,), "nested_dtype": ("float32",)}
    for name, values in allowed.items():
        if not _is_one_of(state[name], values):
            expects = ", ".join(str(value) for value in values)
            return f"has {name} {clipped(state[name])}, which is not {expects}"
    return _offset_problem(state["nested_offset"]) if double_quant else ""


def _is_one_of(value: object, values: tuple[object, ...]) -> bool:
    """Whether values are equal and of the same type: JSON's `true` and `64.0` are not integers."""
    if isinstance(value, list) and any(type(size) is not int for size in value):
        return False
    return any(type(value) is type(each) and value == each for each in values)


def _offset_problem(value: object) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and isinstance(value, int | float) and abs(value) <= _LARGEST_F32:
        return ""
    return f"has nested_offset {clipped(value)}, which is not a finite number"


def _read(model_dir: Path, info: TensorInfo) -> bytes:
    return bytes(read_range(model_dir / info.shard, info.start, info.n_bytes))


def _wrong(model_dir: Path, info: TensorInfo, reason: str) -> Problem:
    return say_quantize.nf4_part_wrong(info.name, reason).at(str(model_dir / info.shard))
