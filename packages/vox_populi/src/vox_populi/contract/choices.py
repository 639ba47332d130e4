"""The closed sets of a request and the words that name their members. No checks across fields."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from vox_populi.errors import ConfigError
from vox_populi.operator_messages import contract as say

ChoiceT = TypeVar("ChoiceT", bound=StrEnum)


class Backend(StrEnum):
    """The training method requested by the operator."""

    LORA = "lora"
    QLORA = "qlora"


class Kernel(StrEnum):
    """The training kernels, under the names that manifests store."""

    BURN_LORA = "burn_lora"
    CANDLE_QLORA = "candle_qlora"


class GraphId(StrEnum):
    """The graphs an adapter can be trained in, under the names that files store."""

    FULL = "full_graph_v1"
    """Every layer of the causal model."""
    PROXY_STACK = "proxy_stack_v1_residual"
    """Embedding rows, output projections with residuals between them, the tied head."""
    HEAD_ONLY = "lm_head_only"
    """Embedding rows and the tied head."""

    @property
    def is_proxy(self) -> bool:
        """Whether its adapters do not belong in the transformer."""
        return self is not GraphId.FULL


class TokenizerKind(StrEnum):
    """The tokenizer that turns text into ids."""

    VOX = "vox"
    """The model folder's vocabulary if it is `VoxTokenizer`'s, otherwise that of `vox-nano`."""
    HF = "hf"
    """The model folder's `tokenizer.json`."""


class DeviceKind(StrEnum):
    """The device to compute on."""

    CPU = "cpu"
    CUDA = "cuda"
    METAL = "metal"
    BEST = "best"
    """CUDA, otherwise Metal, otherwise the CPU."""


class ComputeDtype(StrEnum):
    """The arithmetic of the frozen weights and activations; adapters are always f32."""

    AUTO = "auto"
    """bf16 on CUDA, f32 elsewhere."""
    F32 = "f32"
    BF16 = "bf16"


class PrefixSharing(StrEnum):
    """Whether tokens that rows begin with alike are computed once for all of them."""

    AUTO = "auto"
    """They are, if the gradients are those of the rows one by one."""
    NEVER = "never"


class ActivationMemoryChoice(StrEnum):
    """What the forward pass keeps of a block for the backward pass; the gradients are the same."""

    AUTO = "auto"
    """The first of the others that fits."""
    NONE = "none"
    """Everything that the backward pass reads; nothing is computed again."""
    SELECTIVE = "selective"
    """All but what is inside the MLP."""
    FULL = "full"
    """The block's input; the rest is computed again."""
    OFFLOAD = "offload"
    """The same, in the host's memory."""


class ShardChoice(StrEnum):
    """Whether the processes of a run hold the base together, each a part of it."""

    AUTO = "auto"
    """If a process has too little memory for the whole base."""
    ALWAYS = "always"
    NEVER = "never"


class DeploymentTarget(StrEnum):
    """What the adapter is for; decides limits, not arithmetic."""

    WORKSTATION = "workstation"
    MOBILE_EDGE = "mobile_edge"


BACKEND_WORDS: Mapping[str, Backend] = {
    "lora": Backend.LORA,
    "burn": Backend.LORA,
    "burn-lora": Backend.LORA,
    "burn_lora": Backend.LORA,
    "qlora": Backend.QLORA,
    "candle": Backend.QLORA,
    "candle-qlora": Backend.QLORA,
    "candle_qlora": Backend.QLORA,
}
DEVICE_WORDS: Mapping[str, DeviceKind] = {
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
DTYPE_WORDS: Mapping[str, ComputeDtype] = {
    "auto": ComputeDtype.AUTO,
    "f32": ComputeDtype.F32,
    "fp32": ComputeDtype.F32,
    "float32": ComputeDtype.F32,
    "bf16": ComputeDtype.BF16,
    "bfloat16": ComputeDtype.BF16,
}
DEPLOYMENT_WORDS: Mapping[str, DeploymentTarget] = {
    "workstation": DeploymentTarget.WORKSTATION,
    "mobile_edge": DeploymentTarget.MOBILE_EDGE,
    "mobile-edge": DeploymentTarget.MOBILE_EDGE,
}


def parse_choice(flag: str, text: str, words: Mapping[str, ChoiceT]) -> ChoiceT:
    """Read a word for a member of a closed set, case and surrounding space aside.

    Args:
        flag: The flag of the word.
        text: The word.
        words: Every accepted word; the order among words for one member does not matter.

    Raises:
        ConfigError: For any other word, with the members.
    """
    word = text.strip().lower()
    if word not in words:
        raise ConfigError(say.choice_unknown(text, tuple(dict.fromkeys(words.values()))).at(flag))
    return words[word]


def default_tokenizer(backend: object, model_dir: object) -> TokenizerKind:
    """The vocabulary of a request that does not choose one.

    A foreign base has its own vocabulary, and `vox` is the embedded base's; QLoRA uses the base's
    own file in any case.
    """
    is_own = backend is not Backend.QLORA and model_dir is None
    return TokenizerKind.VOX if is_own else TokenizerKind.HF
