"""Programs that load our adapters, and what each of them cannot load. No torch here.

The rules follow the programs' published loaders; `vox mens lint` and `vox mens export-adapter` use
the same ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from operator import attrgetter

from vox_populi.hf.keymap import AdapterModule, ProjectionRole, adapter_modules
from vox_populi.hf.model_config import ModelConfig
from vox_populi.hf.model_family import GgufForm, Limit
from vox_populi.hf.rope_config import RopeKind, RopeSpec
from vox_populi.hf.text_part import OuterClass
from vox_populi.operator_messages import transformers_graph as say_foreign

MLX_CONFIG_FILE = "adapter_config.json"
MLX_WEIGHTS_FILE = "adapters.safetensors"
GGUF_ADAPTER_FILE = "adapter.gguf"

VLLM_MAX_RANK = 512
"""The largest `--max-lora-rank` of vLLM."""


class Consumer(StrEnum):
    """The program that will load an adapter."""

    PEFT = "peft"
    VLLM = "vllm"
    GGUF = "gguf"
    """llama.cpp: its converter `convert_lora_to_gguf.py`, and its loader of GGUF adapters."""
    MLX = "mlx"
    """mlx-lm."""


class GgufType(StrEnum):
    """How the matrices of a GGUF model are stored; vectors and positions are always f32."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"
    """Blocks of 32 values: one f16 scale and 32 bytes."""


class GgufTypeChoice(StrEnum):
    """The choices for `--type`."""

    AUTO = "auto"
    """f16; for an adapter, f32 if f16 loses what was trained."""
    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"

    @property
    def candidates(self) -> tuple[GgufType, ...]:
        """Types to try, in this order."""
        if self is GgufTypeChoice.AUTO:
            return (GgufType.F16, GgufType.F32)
        return (GgufType(self.value),)


def obstacles(
    consumer: Consumer, config: ModelConfig, modules: Sequence[AdapterModule], rank: int
) -> Iterator[str]:
    """Why a consumer cannot load an adapter in any format; empty if it can."""
    yield from _unknown_forms(consumer, config)
    adapts_head = any(ProjectionRole.LM_HEAD in module.roles for module in modules)
    if consumer is not Consumer.PEFT and adapts_head and config.tie_word_embeddings:
        yield "lm_head is adapted and tied to the embedding, which cannot have an adapter there"
    yield from _expert_obstacles(consumer, config, modules)
    if consumer is Consumer.VLLM:
        if not config.family.vllm_has_lora:
            yield f"its {config.family.label} has no LoRA layers"
        if rank > VLLM_MAX_RANK:
            yield f"the rank is {rank}, but its largest is {VLLM_MAX_RANK}"
    if consumer is Consumer.GGUF and config.family.gguf.architecture is None:
        yield _no_gguf(config)
    if consumer is Consumer.MLX and config.family.mlx.splits_gate_up:
        fused = next((module.theirs for module in modules if len(module.roles) > 1), None)
        if fused is not None:
            yield f"{fused} is adapted, and its {config.family.label} splits that matrix in two"
    if consumer is Consumer.MLX and config.family.mlx.always_ties_head and adapts_head:
        its = f"its {config.family.label}"
        yield f"lm_head is adapted, and {its} always ties the head to the embedding"


def _expert_obstacles(
    consumer: Consumer, config: ModelConfig, modules: Sequence[AdapterModule]
) -> Iterator[str]:
    """Why adapters of experts cannot be loaded.

    PEFT makes one adapter of those of all experts of a layer, and of gate and up together; names of
    an ordinary MLP's projections it takes for the experts', unless a folder names their tensors.
    """
    if not any(module.in_expert for module in modules):
        return
    if consumer is not Consumer.PEFT:
        yield "experts are adapted, and their adapters are not written in a form that it reads"
        return
    adapted = {module.ours for module in modules}
    experts = [module for module in adapter_modules(config) if module.in_expert]
    roles = {module.roles for module in modules if module.in_expert}
    gate, up = (ProjectionRole.GATE,), (ProjectionRole.UP,)
    if any(module.roles in roles and module.ours not in adapted for module in experts):
        yield "some experts are adapted and others are not, and it adapts all or none"
    has_both = {gate, up} <= {module.roles for module in experts}
    if has_both and (gate in roles) != (up in roles):
        yield "of gate and up of the experts one is adapted, and it adapts both or none"
    is_ordinary = any(".mlp." in module.ours and not module.in_expert for module in modules)
    if config.modules is None and is_ordinary:
        yield "layers with an ordinary MLP are adapted too, and it takes their names for experts'"


def name_alone(config: ModelConfig, theirs: str) -> str:
    """The name of a tensor or module in a folder of the text model alone, as llama.cpp knows it."""
    return theirs if config.outer is None else config.outer.name_alone(theirs)


def mlx_path(module: AdapterModule, config: ModelConfig) -> str:
    """Module path of a projection in mlx-lm's model."""
    blocks = config.family.mlx.blocks
    if blocks is None:
        return module.theirs
    return module.theirs.replace(config.family.tensors.blocks, blocks, 1)


def passed_limits(limits: Iterable[Limit], config: ModelConfig) -> Iterator[str]:
    """Values that a program takes for granted and this model does not have."""
    for limit in limits:
        if attrgetter(limit.field)(config) != limit.value:
            yield limit.reason


def gguf_model_obstacles(config: ModelConfig) -> Iterator[str]:
    """What llama.cpp's architecture for this family would compute differently."""
    if config.modules is not None:
        yield say_foreign.NO_FORM
    elif config.family.gguf.architecture is None:
        yield _no_gguf(config)
    yield from passed_limits(config.family.gguf.limits, config)
    rope, form = config.rope, config.family.gguf
    if rope is not None and rope.kind is RopeKind.YARN and _is_tuned(rope, form):
        yield "its YaRN settings go beyond factor and original length"


def _unknown_forms(consumer: Consumer, config: ModelConfig) -> Iterator[str]:
    """Why another program's form of a model is not known at all."""
    if consumer in (Consumer.MLX, Consumer.GGUF) and config.modules is not None:
        yield say_foreign.NO_FORM
    if consumer is Consumer.MLX and config.outer is not None:
        yield nested_obstacle(config.outer)


def nested_obstacle(outer: OuterClass) -> str:
    """Why a text model within a larger one has no form for a program."""
    return f"its text model is part of {outer.name}, and only folders of a text model are known"


def _no_gguf(config: ModelConfig) -> str:
    return f"GGUF files of {config.family.label} are not written"


def _is_tuned(rope: RopeSpec, form: GgufForm) -> bool:
    if (rope.beta_fast, rope.beta_slow, rope.truncate) != (32.0, 1.0, True):
        return True
    if form.yarn_is_unscaled:
        return rope.yarn_attention_factor != 1
    factors = (rope.attention_factor, rope.mscale, rope.mscale_all_dim)
    return any(value is not None for value in factors)
