"""Finding the weight files of a model folder: one safetensors file, or shards and an index."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vox_populi.errors import ModelError
from vox_populi.files.strict_json import read_json_object
from vox_populi.operator_messages import model_folder as say
from vox_populi.operator_messages.wording import clipped
from vox_tensor.problem_log import ProblemLog

SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"

_FOREIGN_WEIGHTS = (
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "flax_model.msgpack",
    "adapter_model.safetensors",
    "adapter_model.bin",
)
_MAX_NAME = 255
_WINDOWS_DEVICES = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}
)


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The shards of a folder, and their contents according to the index."""

    shards: tuple[str, ...]
    """Bare file names, sorted."""
    promised: Mapping[str, frozenset[str]] | None
    """Tensor names by shard; `None` without an index."""


def find_weight_files(model_dir: Path) -> WeightFiles:
    """Find the weights of a folder; names in an index cannot lead out of it.

    Raises:
        ModelError: When there are no weights, two sets of them, or the index has wrong entries.
    """
    single, index = model_dir / SINGLE_NAME, model_dir / INDEX_NAME
    has_single, has_index = _is_there(single), _is_there(index)
    if not has_index and not has_single:
        beside = next((name for name in _FOREIGN_WEIGHTS if _is_there(model_dir / name)), None)
        raise ModelError(say.weights_missing(beside).at(str(model_dir)))
    if not has_index:
        return WeightFiles((SINGLE_NAME,), None)
    files = _read_index(index)
    if has_single and SINGLE_NAME not in files.shards:
        raise ModelError(say.WEIGHTS_AMBIGUOUS.at(str(model_dir)))
    return files


def find_listed_weights(model_dir: Path) -> tuple[str, ...]:
    """The weight files to fetch for a folder that has its index already, if there is one.

    Raises:
        ModelError: When the index has wrong entries.
    """
    index = model_dir / INDEX_NAME
    return _read_index(index).shards if _is_there(index) else (SINGLE_NAME,)


def _is_there(path: Path) -> bool:
    """Whether a file exists, even as a dangling link, which is broken and not absent."""
    return path.exists() or path.is_symlink()


def _read_index(path: Path) -> WeightFiles:
    weight_map = read_json_object(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        reason = "is missing, empty or no object"
        raise ModelError(say.index_entry_wrong("weight_map", reason).at(str(path)))
    by_shard: dict[str, set[str]] = defaultdict(set)
    problems = ProblemLog(str(path))
    for name, shard in weight_map.items():
        wrong = _why_not_a_shard_name(shard)
        if wrong is not None:
            problems.add([say.index_entry_wrong(name, wrong).at(str(path))])
        else:
            by_shard[shard].add(name)
    if problems:
        raise ModelError(*problems.shown())
    promised = {shard: frozenset(names) for shard, names in by_shard.items()}
    return WeightFiles(tuple(sorted(promised)), promised)


def _why_not_a_shard_name(name: object) -> str | None:
    """Why a name is refused: only bare file names are followed; links in the folder are allowed."""
    if not isinstance(name, str):
        return "is not a file name"
    if not name or len(name.encode("utf-8", "surrogatepass")) > _MAX_NAME:
        return "is not a file name"
    if any(character in name for character in '/\\:\0*?"<>|') or name in (".", ".."):
        return f"leads out of the folder: {clipped(name)}"
    if not name.isprintable() or name.split(".", maxsplit=1)[0].lower() in _WINDOWS_DEVICES:
        return f"is not a valid file name: {clipped(name)}"
    if not name.endswith(".safetensors"):
        return f"is not a .safetensors file: {clipped(name)}"
    return None
