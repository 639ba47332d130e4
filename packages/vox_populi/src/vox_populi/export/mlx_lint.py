"""Whether mlx-lm can load its own adapter format or a model folder, from headers. No torch here.

It loads the parts of an adapter that fit and ignores the rest silently, so everything that would
stay unused is listed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from vox_populi.containers.safetensors_header import TensorInfo, read_header
from vox_populi.errors import ModelError
from vox_populi.export.consumers import (
    MLX_CONFIG_FILE,
    MLX_WEIGHTS_FILE,
    Consumer,
    mlx_path,
    nested_obstacle,
    passed_limits,
)
from vox_populi.files.strict_json import read_json_object
from vox_populi.hf.keymap import AdapterModule, adapter_modules, canonical_name
from vox_populi.hf.model_config import CONFIG_NAME, ModelConfig, parse_model_config
from vox_populi.hf.model_family import MlxForm
from vox_populi.hf.rope_config import RopeSpec
from vox_populi.operator_messages import export as say
from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem

_LAYER = re.compile(r"\.(?:layers|h)\.(\d{1,6})\.")
_TWINS = {"lora_a": "lora_b", "lora_b": "lora_a"}
_RANK_AT = {"lora_a": 1, "lora_b": 0}
_MAX_CONFIG_BYTES = 4 * 2**20


def mlx_folder_problems(folder: Path, base: ModelConfig | None) -> Iterator[Problem]:
    """Why mlx-lm would fail on its own format, or leave tensors unused.

    Args:
        folder: Folder with mlx-lm's two files.
        base: The base's config, to compare every name and shape with; `None` skips that.
    """
    try:
        settings = read_json_object(folder / MLX_CONFIG_FILE, _MAX_CONFIG_BYTES)
        tensors = read_header(folder / MLX_WEIGHTS_FILE).tensors
    except ModelError as error:
        yield from error.problems
        return
    for reason in _reasons(settings, tensors, base):
        yield say.consumer_file_unsound(Consumer.MLX, reason, str(folder))


def mlx_model_reasons(
    config: ModelConfig, raw: Mapping[str, object], stored: Collection[str]
) -> Iterator[str]:
    """What mlx-lm's own model of a family cannot load, or would compute differently.

    Args:
        config: The model folder's config.
        raw: The same config as stored in the file.
        stored: Names of the folder's tensors.
    """
    if config.outer is not None:
        yield f"{nested_obstacle(config.outer)}."
        return
    family = config.family
    its, mlx = f"its {family.label}", family.mlx
    if mlx.always_ties_head and not config.tie_word_embeddings:
        yield f"{its} ties the head to the embedding, and this head is not."
    yield from passed_limits(mlx.limits, config)
    for name in mlx.needed_keys:
        if name not in raw:
            yield f"{its} asks for {name} in {CONFIG_NAME}."
    is_newer = not mlx.reads_rope_parameters and "rope_parameters" in raw
    if is_newer and (config.rope, config.local_rope) != _older_ropes(raw, mlx):
        old = "rope_theta, rope_scaling and partial_rotary_factor"
        yield f"{its} knows {old} and reads no rope_parameters."
    prefix = family.tensors.optional_prefix
    others = [name for name in stored if canonical_name(config, name) == f"{prefix}{name}"]
    prefixed = any(name.startswith(prefix) for name in stored)
    if others if mlx.wants_optional_prefix else prefixed:
        how = "with" if mlx.wants_optional_prefix else "without"
        yield f"{its} knows tensors {how} {prefix} in front."


def _older_ropes(
    raw: Mapping[str, object], mlx: MlxForm
) -> tuple[RopeSpec | None, RopeSpec | None]:
    """The rotary settings that a program reads that does not know `rope_parameters`."""
    older = {name: value for name, value in raw.items() if name != "rope_parameters"}
    if older.get("rope_theta") is None:
        older["rope_theta"] = mlx.rope_theta
    try:
        config = parse_model_config(older, CONFIG_NAME)
    except ModelError:
        return None, None
    return config.rope, config.local_rope


def _reasons(
    settings: Mapping[str, object], tensors: Mapping[str, TensorInfo], base: ModelConfig | None
) -> Iterator[str]:
    if settings.get("fine_tune_type") == "full":
        halves = (name for name in tensors if name.rpartition(".")[2] in _TWINS)
        yield from (f"it would leave {clipped(name)} out without a word." for name in halves)
        return
    values = settings.get("lora_parameters")
    yield from _layer_reasons(settings.get("num_layers"), tensors, base)
    if not isinstance(values, dict):
        yield f"lora_parameters is missing in {MLX_CONFIG_FILE}."
        return
    for name in ("rank", "scale", "dropout"):
        if not isinstance(values.get(name), int | float):
            yield f"lora_parameters has no {name}."
    if settings.get("fine_tune_type") == "dora":
        # The magnitudes that DoRA trains beside A and B.
        tensors = {name: info for name, info in tensors.items() if not name.endswith(".m")}
    yield from _tensor_reasons(values, tensors, base)


def _tensor_reasons(
    values: Mapping[str, object], tensors: Mapping[str, TensorInfo], base: ModelConfig | None
) -> Iterator[str]:
    known = None if base is None else {mlx_path(m, base): m for m in adapter_modules(base)}
    for name, info in tensors.items():
        reason = _tensor_reason(name, info, values, tensors)
        if reason is None and known is not None:
            reason = _base_reason(name, info, known)
        if reason is not None:
            yield reason


def _tensor_reason(
    name: str,
    info: TensorInfo,
    values: Mapping[str, object],
    tensors: Mapping[str, TensorInfo],
) -> str | None:
    """Problem of a tensor, regardless of the base."""
    module, _, half = name.rpartition(".")
    shown = clipped(name)
    if half not in _TWINS or len(info.shape) != 2:
        return f"it would silently leave {shown} out."
    if info.shape[_RANK_AT[half]] != values.get("rank"):
        return f"{shown} is {list(info.shape)}, which does not match the config's rank."
    if f"{module}.{_TWINS[half]}" not in tensors:
        return f"{shown} has no {_TWINS[half]}, without which it does nothing."
    keys = values.get("keys")
    layer = _LAYER.search(name)
    paths = (module, module if layer is None else module[layer.end() :])
    if isinstance(keys, list) and not any(path in keys for path in paths):
        return f"no key of lora_parameters covers {shown}."
    return None


def _layer_reasons(
    count: object, tensors: Mapping[str, TensorInfo], base: ModelConfig | None
) -> Iterator[str]:
    """Layers mlx-lm would ignore: it adapts only the last `num_layers` (all for 0 and below)."""
    if not isinstance(count, int):
        yield f"num_layers is missing in {MLX_CONFIG_FILE}."
        return
    found = {name: _LAYER.search(name) for name in tensors}
    numbers = {name: int(match[1]) for name, match in found.items() if match is not None}
    n_layers = 1 + max(numbers.values(), default=0) if base is None else base.n_layers
    for name, number in numbers.items():
        if 0 < count < n_layers - number:
            yield f"num_layers is {count}, which silently leaves {clipped(name)} out."


def _base_reason(name: str, info: TensorInfo, known: Mapping[str, AdapterModule]) -> str | None:
    """Problem of a tensor that only the base shows: a missing layer, or a different size."""
    path, _, half = name.rpartition(".")
    module, shown = known.get(path), clipped(name)
    if module is None:
        return f"the base has no layer for {shown}, which it would silently leave out."
    features = module.in_features if half == "lora_a" else module.out_features
    if info.shape[1 - _RANK_AT[half]] != features:
        return f"{shown} is {list(info.shape)}, but the base's layer has {features} features there."
    return None
