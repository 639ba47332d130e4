"""The closed sets of a request and the words that name their members. No checks across fields."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from vox_populi.errors import ConfigError
from vox_populi.operator_messages import contract as say

_Choice = TypeVar("_Choice", bound=StrEnum)


class Backend(StrEnum):
    """Which training kernel the operator asked for."""

    LORA = "lora"
    QLORA = "qlora"


class Kernel(StrEnum):
    """The training kernels, under the names that manifests store."""

    BURN_LORA = "burn_lora"
    CANDLE_QLORA = "candle_qlora"


class TokenizerKind(StrEnum):
    """Who turns text into ids."""

    VOX = "vox"
    """The model folder's vocabulary if it is `VoxTokenizer`'s, else that of `vox-nano`."""
    HF = "hf"
    """The model folder's `tokenizer.json`."""


class DeviceKind(StrEnum):
    """Where to compute."""

    CPU = "cpu"
    CUDA = "cuda"
    METAL = "metal"
    BEST = "best"
    """CUDA, else Metal, else the CPU."""


class ComputeDtype(StrEnum):
    """The arithmetic of the frozen weights and activations; adapters are always f32."""

    AUTO = "auto"
    """bf16 on CUDA, f32 elsewhere."""
    F32 = "f32"
    BF16 = "bf16"


class DeploymentTarget(StrEnum):
    """What the adapter is for; decides limits, not arithmetic."""

    WORKSTATION = "workstation"
    MOBILE_EDGE = "mobile_edge"


_BACKEND_WORDS = {
    "lora": Backend.LORA,
    "burn": Backend.LORA,
    "burn-lora": Backend.LORA,
    "burn_lora": Backend.LORA,
    "qlora": Backend.QLORA,
    "candle": Backend.QLORA,
    "candle-qlora": Backend.QLORA,
    "candle_qlora": Backend.QLORA,
}
_DEVICE_WORDS = {
    "cpu": DeviceKind.CPU,
    "": DeviceKind.CPU,
    "best": DeviceKind.BEST,
    "auto": DeviceKind.BEST,
    "default": DeviceKind.BEST,
    "vulkan": DeviceKind.BEST,
    "dx12": DeviceKind.BEST,
    "d3d12": DeviceKind.BEST,
    "cuda": DeviceKind.CUDA,
    "gpu": DeviceKind.CUDA,
    "nvidia": DeviceKind.CUDA,
    "metal": DeviceKind.METAL,
    "mps": DeviceKind.METAL,
}
_DTYPE_WORDS = {
    "auto": ComputeDtype.AUTO,
    "f32": ComputeDtype.F32,
    "fp32": ComputeDtype.F32,
    "float32": ComputeDtype.F32,
    "bf16": ComputeDtype.BF16,
    "bfloat16": ComputeDtype.BF16,
}
_TARGET_WORDS = {
    "workstation": DeploymentTarget.WORKSTATION,
    "mobile_edge": DeploymentTarget.MOBILE_EDGE,
    "mobile-edge": DeploymentTarget.MOBILE_EDGE,
}


def parse_backend(text: str) -> Backend:
    """Read `--backend`: `lora`, `qlora` or a name the source system had for either.

    Raises:
        ConfigError: For any other word, naming the two choices; the same holds below.
    """
    return _parse("--backend", text, _BACKEND_WORDS)


def parse_tokenizer(text: str) -> TokenizerKind:
    """Read `--tokenizer`."""
    return _parse("--tokenizer", text, {kind.value: kind for kind in TokenizerKind})


def parse_device(text: str) -> DeviceKind:
    """Read `--device`; the source system's other names for a device are understood."""
    return _parse("--device", text, _DEVICE_WORDS)


def parse_dtype(text: str) -> ComputeDtype:
    """Read `--dtype`, in the short or in torch's spelling."""
    return _parse("--dtype", text, _DTYPE_WORDS)


def parse_deployment_target(text: str) -> DeploymentTarget:
    """Read `--deployment-target`, with an underscore or a hyphen."""
    return _parse("--deployment-target", text, _TARGET_WORDS)


def _parse(flag: str, text: str, words: Mapping[str, _Choice]) -> _Choice:
    word = text.strip().lower()
    if word not in words:
        canonical = tuple(dict.fromkeys(choice.value for choice in words.values()))
        raise ConfigError(say.choice_unknown(flag, text, canonical))
    return words[word]
