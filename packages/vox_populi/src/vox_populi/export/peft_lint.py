"""Whether each consumer can load an adapter folder, from configs and headers alone. No torch.

PEFT's format (`adapter_config.json`, `adapter_model.safetensors`) is read by PEFT, vLLM and
llama.cpp's converter, each with its own limits. mlx-lm's format is checked in `mlx_lint`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi.adapters.peft.config import (
    PEFT_PREFIX,
    PEFT_WEIGHTS_FILE,
    read_peft_config,
)
from vox_populi.adapters.peft.tensors import check_peft_tensors
from vox_populi.containers.dtypes import CONFIG_NAME_OF
from vox_populi.containers.safetensors_header import TensorInfo, read_header
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.export.consumers import VLLM_MAX_RANK, Consumer, obstacles
from vox_populi.files.known_names import PEFT_CONFIG_FILE
from vox_populi.files.strict_json import read_json_object
from vox_populi.hf.keymap import conv1d_part
from vox_populi.hf.model_config import ModelConfig
from vox_populi.operator_messages import export as say
from vox_populi.operator_messages.wording import clipped
from vox_tensor.errors import Problem

_HALF = re.compile(re.escape(PEFT_PREFIX) + r"(?P<module>.+)\.lora_(?P<half>[AB])\.weight")
_WIDENS = {"attn.qkv": True, "mlp.up": True, "mlp.down": False}
"""Whether a layer has more outputs than inputs; those with as many of both tell nothing."""
_MAX_CONFIG_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class PeftFolder:
    """A folder in PEFT's format, as far as it can be read."""

    path: Path
    settings: Mapping[str, object]
    pairs: Mapping[str, tuple[TensorInfo, TensorInfo]]
    """Module path to A and B."""
    others: tuple[str, ...]
    """Tensors that do not belong to a complete pair."""
    broken: tuple[Problem, ...] = field(default=())
    """Why a file cannot be read at all."""

    @property
    def has_turned_conv1d(self) -> bool | None:
        """Whether A and B of GPT-2's layers are swapped for the converter; `None` if not GPT-2."""
        for module, (a, b) in self.pairs.items():
            widens = _WIDENS.get(conv1d_part(module) or "")
            if widens is not None:
                return (b.shape[0] > a.shape[1]) is not widens
        return None


def open_peft_folder(folder: Path) -> PeftFolder:
    """Read the config and the header of a PEFT folder; problems are in `broken`."""
    problems: list[Problem] = []
    settings: Mapping[str, object] = {}
    tensors: Mapping[str, TensorInfo] = {}
    for name in (PEFT_CONFIG_FILE, PEFT_WEIGHTS_FILE):
        path = folder / name
        try:
            if not path.is_file():
                problems.append(say.not_a_peft_folder(name).at(str(folder)))
            elif name == PEFT_CONFIG_FILE:
                settings = read_json_object(path, _MAX_CONFIG_BYTES)
            else:
                tensors = read_header(path).tensors
        except ModelError as error:
            problems.extend(error.problems)
    pairs, others = _pairs(tensors)
    return PeftFolder(folder, settings, pairs, others, tuple(problems))


def peft_folder_problems(
    folder: PeftFolder, consumer: Consumer, base: ModelConfig | None
) -> Iterator[Problem]:
    """Why a consumer would refuse a PEFT folder or load it incorrectly."""
    if folder.broken:
        yield from folder.broken
        return
    if consumer is Consumer.MLX:
        yield say.consumer_needs_other_form(consumer, "PEFT's files").at(str(folder.path))
        return
    where = str(folder.path)
    for reason in _REASONS[consumer](folder):
        yield say.consumer_file_unsound(consumer, reason, where)
    if base is not None:
        yield from _base_problems(folder, consumer, base)


def _pairs(
    tensors: Mapping[str, TensorInfo],
) -> tuple[dict[str, tuple[TensorInfo, TensorInfo]], tuple[str, ...]]:
    halves: dict[str, dict[str, TensorInfo]] = {}
    others: list[str] = []
    for name, info in tensors.items():
        match = _HALF.fullmatch(name)
        if match is None or len(info.shape) != 2:
            others.append(name)
        else:
            halves.setdefault(match["module"], {})[match["half"]] = info
    pairs = {m: (found["A"], found["B"]) for m, found in halves.items() if len(found) == 2}
    for module, found in halves.items():
        if module not in pairs:
            others.extend(info.name for info in found.values())
    return pairs, tuple(others)


def _peft_reasons(folder: PeftFolder) -> Iterator[str]:
    yield from _missing_settings(folder, ("peft_type",))
    yield from _shape_reasons(folder)
    for name in folder.others:
        known = ("lora_embedding_", "lora_magnitude_vector", "lora_B.bias")
        if not name.startswith(PEFT_PREFIX) or (".lora_" in name and not _has(name, known)):
            yield f"it would leave {clipped(name)} out with a warning."
    if folder.has_turned_conv1d:
        yield "A and B of its Conv1D layers have changed places; the folder is for llama.cpp only."


def _vllm_reasons(folder: PeftFolder) -> Iterator[str]:
    settings = folder.settings
    yield from _missing_settings(folder, ("r", "lora_alpha", "target_modules"))
    yield from _shape_reasons(folder)
    for name in ("modules_to_save", "use_dora", "rank_pattern", "alpha_pattern", "lora_bias"):
        if settings.get(name):
            yield f"{name} is set, but it does not read that."
    if settings.get("bias") not in (None, "none"):
        yield "bias is not none, but it does not support trained biases."
    rank = settings.get("r")
    if isinstance(rank, int) and rank > VLLM_MAX_RANK:
        yield f"r is {rank}, but its largest --max-lora-rank is {VLLM_MAX_RANK}."
    if folder.has_turned_conv1d is not None:
        yield "its GPT-2 has no LoRA layers."
    for name in folder.others:
        if not _has(name, ("lora_embedding_",)):
            yield f"it does not know the tensor {clipped(name)}."


def _gguf_reasons(folder: PeftFolder) -> Iterator[str]:
    settings = folder.settings
    yield from _missing_settings(folder, ("lora_alpha",))
    yield from _shape_reasons(folder)
    if settings.get("use_rslora"):
        yield "use_rslora is true; its converter drops that rule, and with it the scale."
    if settings.get("alpha_pattern"):
        yield "alpha_pattern is set; its converter writes one alpha."
    for name in folder.others:
        yield f"its converter stops at the tensor {clipped(name)}."
    if folder.has_turned_conv1d is False:
        yield "its converter transposes Conv1D layers, and these are not turned for it."


_REASONS = {
    Consumer.PEFT: _peft_reasons,
    Consumer.VLLM: _vllm_reasons,
    Consumer.GGUF: _gguf_reasons,
}


def _missing_settings(folder: PeftFolder, needed: tuple[str, ...]) -> Iterator[str]:
    for name in needed:
        if folder.settings.get(name) in (None, "", []):
            yield f"{name} is missing in {PEFT_CONFIG_FILE}."


def _shape_reasons(folder: PeftFolder) -> Iterator[str]:
    """Ranks that contradict each other or the config, and types that are not plain floats."""
    rank, pattern = folder.settings.get("r"), folder.settings.get("rank_pattern")
    if not folder.pairs:
        yield "no projection has both lora_A and lora_B."
    for path, (a, b) in folder.pairs.items():
        module = clipped(path)
        if a.shape[0] != b.shape[1]:
            yield f"lora_A and lora_B of {module} have ranks {a.shape[0]} and {b.shape[1]}."
        elif not pattern and a.shape[0] != rank:
            yield f"the rank of {module} is {a.shape[0]}, and r is {clipped(rank)}."
        if {a.dtype, b.dtype} - CONFIG_NAME_OF.keys():
            yield f"{module} is stored as {a.dtype} and {b.dtype}."


def _base_problems(folder: PeftFolder, consumer: Consumer, base: ModelConfig) -> Iterator[Problem]:
    """Problems that only the base shows: names, sizes, a tied head."""
    if consumer is Consumer.GGUF and folder.has_turned_conv1d:
        return
    try:
        settings = read_peft_config(folder.path)
    except ArtifactError:
        # More than a plain LoRA: what a consumer makes of its settings is said above.
        return
    try:
        tensors = {info.name: info for pair in folder.pairs.values() for info in pair}
        where = str(folder.path / PEFT_WEIGHTS_FILE)
        modules = check_peft_tensors(settings, tensors, base, where)
    except ArtifactError as error:
        yield from error.problems
        return
    for reason in obstacles(consumer, base, modules, settings.lora.rank):
        yield say.consumer_refuses(consumer, reason).at(str(folder.path))


def _has(name: str, parts: tuple[str, ...]) -> bool:
    return any(part in name for part in parts)
